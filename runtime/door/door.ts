/**
 * The door: what engines execute as `manyworlds-oci`. It is a syscall program like the containers'
 * own, a static executable of some 60 KB that starts in half a millisecond. What needs nothing but
 * the kernel it does itself, by the facts that `create` left (facts.ts); with anything else, an
 * option it does not know or a call that fails, it becomes the executable beside it, which then
 * does the verb from the beginning and has the words for what is wrong.
 *
 * ```
 * argv ─ options ─ verb ─┬─ start, delete, kill, exec ─► done
 *                        ├─ run ─► manyworlds as a child makes the container (run.ts) ─► done
 *                        └──────── else, or failure ───► execve manyworlds, same words
 * ```
 */
import { encodeElf, encodeProgram, type Program, startStack } from "../../linux/index.ts";
import { doorPlace } from "../frozen/layout.ts";
import { planOpenContainer } from "./container.ts";
import { planDelete } from "./delete.ts";
import { DoorRows } from "./door-rows.ts";
import { planExecVerb, planStandardStreams } from "./exec.ts";
import { doorName, planFallback } from "./fallback.ts";
import { planKill } from "./kill.ts";
import { planRun } from "./run.ts";
import { planStart } from "./start.ts";

/** Where root's containers are; others, and their environment, are left to the executable. */
const defaultRoot = "/run/manyworlds";

/** What a thawed process does as well as one that has just started; create, run and exec matter. */
const thawed = ["create", "run", "state"] as const;

/** The bytes of `manyworlds-oci`. */
export function doorExecutable(): Uint8Array {
  const program = planDoor();
  return encodeElf(program, encodeProgram(program), doorPlace);
}

export function planDoor(): Program {
  const rows = new DoorRows();
  planVectors(rows);
  planOptions(rows);
  planVerb(rows);
  planFallback(rows);
  return { rows: rows.rows, buffers: rows.buffers, onError: "fallback" };
}

/** The stack of a new process: argc, argv, NULL, envp, NULL, auxiliary vector. */
function planVectors(rows: DoorRows): void {
  rows.set("argv", rows.compute(startStack, "+", 8));
  const count = rows.read(startStack, 8);
  rows.gotoIf("lost", count, "<", 1);
  const words = rows.compute(count, "*", 8);
  rows.set("environment", rows.compute(rows.compute(rows.get("argv"), "+", words), "+", 8));
  rows.set("cursor", rows.get("argv"));
  rows.set("name", doorName);
  rows.set("thaws", 0);
  rows.set("never_thaws", 0);
}

/** Moves to the next word of the command line; its address is then in `word`, 0 at the end. */
function planNextWord(rows: DoorRows): void {
  rows.advance("cursor", 8);
  rows.set("word", rows.read(rows.get("cursor"), 8));
}

function planWantWord(rows: DoorRows): void {
  planNextWord(rows);
  rows.gotoIf("fallback", rows.get("word"), "==", 0);
}

/** Global options that change nothing for what is done here; a log is only written to on errors. */
function planOptions(rows: DoorRows): void {
  rows.set("root", 0);
  const next = "option";
  rows.label(next);
  planWantWord(rows);
  const word = rows.get("word");
  rows.gotoIf("verb", rows.read(word, 1), "!=", "-".charCodeAt(0));
  rows.gotoIfText("option_root", word, "--root");
  rows.gotoIfBegins("option_root_here", word, "--root=");
  rows.gotoIfText("option_log", word, "--log");
  rows.gotoIfText("option_format", word, "--log-format");
  rows.gotoIfText(next, word, "--log-format=json");
  rows.gotoIfText(next, word, "--log-format=text");
  rows.gotoIfBegins(next, word, "--log=");
  rows.gotoIfText(next, word, "--debug");
  // Who made the cgroup stands in the container's facts.
  rows.gotoIfText("option_systemd", word, "--systemd-cgroup");
  rows.goto("fallback");
  rows.label("option_systemd");
  rows.set("never_thaws", 1); // its driver is loaded when it is wanted
  rows.goto(next);
  rows.label("option_root");
  planWantWord(rows);
  rows.set("root", rows.get("word"));
  rows.goto(next);
  rows.label("option_root_here");
  rows.set("root", rows.compute(word, "+", "--root=".length));
  rows.goto(next);
  rows.label("option_log");
  planWantWord(rows);
  rows.goto(next);
  rows.label("option_format");
  planWantWord(rows);
  rows.gotoIfText(next, rows.get("word"), "json");
  rows.gotoIfText(next, rows.get("word"), "text");
  rows.goto("fallback");
}

function planVerb(rows: DoorRows): void {
  rows.label("verb");
  planDefaultRoot(rows);
  const word = rows.get("word");
  for (const verb of thawed) rows.gotoIfText("thawed_verb", word, verb);
  rows.gotoIfText("exec_thawed", word, "exec");
  rows.goto("other_verb");
  planExecThawed(rows);
  rows.label("thawed_verb");
  rows.set("thaws", rows.compute(1, "-", rows.get("never_thaws")));
  rows.label("other_verb");
  for (const verb of ["start", "delete", "kill", "exec", "run"]) rows.gotoIfText(verb, word, verb);
  rows.goto("fallback");
  rows.label("start");
  planOnlyId(rows);
  planOpenContainer(rows);
  planStart(rows);
  rows.label("delete");
  rows.set("force", 0);
  planForce(rows);
  rows.label("delete_container");
  planOpenContainer(rows);
  planDelete(rows);
  rows.label("kill");
  planId(rows);
  planNextWord(rows);
  rows.set("signal", rows.get("word"));
  rows.gotoIf("killing", rows.get("signal"), "==", 0);
  planEnd(rows);
  rows.label("killing");
  planOpenContainer(rows);
  planKill(rows);
  rows.label("exec");
  planId(rows);
  rows.set("id_slot", rows.get("cursor"));
  planWantWord(rows);
  planStandardStreams(rows);
  planOpenContainer(rows);
  planExecVerb(rows);
  rows.label("run");
  planRun(rows);
  rows.label("done");
  rows.call("exit_group", [0]);
}

/** Waiting in the foreground needs the whole executable; engines wait for themselves. */
function planExecThawed(rows: DoorRows): void {
  const next = "exec_word";
  rows.label("exec_thawed");
  rows.set("entry", rows.get("cursor"));
  rows.label(next);
  rows.advance("entry", 8);
  const word = rows.read(rows.get("entry"), 8);
  rows.gotoIf("other_verb", word, "==", 0);
  rows.gotoIfText("thawed_verb", word, "--detach");
  rows.gotoIfText("thawed_verb", word, "-d");
  rows.goto(next);
}

function planDefaultRoot(rows: DoorRows): void {
  const given = "root_given";
  rows.gotoIf(given, rows.get("root"), "!=", 0);
  rows.gotoIf("fallback", rows.result("geteuid", []), "!=", 0);
  rows.set("root", defaultRoot);
  rows.label(given);
}

function planForce(rows: DoorRows): void {
  const [option, id] = ["delete_option", "delete_id"];
  rows.label(option);
  planWantWord(rows);
  rows.gotoIfText("delete_force", rows.get("word"), "--force");
  rows.gotoIfText("delete_force", rows.get("word"), "-f");
  rows.goto(id);
  rows.label("delete_force");
  rows.set("force", 1);
  rows.goto(option);
  rows.label(id);
  planTakeId(rows);
  planEnd(rows);
}

function planOnlyId(rows: DoorRows): void {
  planId(rows);
  planEnd(rows);
}

function planId(rows: DoorRows): void {
  planWantWord(rows);
  planTakeId(rows);
}

/** An option in its place is for the executable. */
function planTakeId(rows: DoorRows): void {
  rows.gotoIf("fallback", rows.read(rows.get("word"), 1), "==", "-".charCodeAt(0));
  rows.set("id", rows.get("word"));
}

function planEnd(rows: DoorRows): void {
  planNextWord(rows);
  rows.gotoIf("fallback", rows.get("word"), "!=", 0);
}
