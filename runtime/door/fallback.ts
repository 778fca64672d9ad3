/**
 * Where the door goes with whatever it does not do itself: it becomes the executable beside it,
 * with the same words. The kernel tells where we are; without /proc, the path that we were executed
 * by does (getauxval(3), AT_EXECFN).
 */
import { type Argument, AT_FDCWD } from "../../linux/index.ts";
import { planThaw } from "../frozen/thaw.ts";
import type { DoorRows } from "./door-rows.ts";

/** cli/main.ts looks at the name it is called by. */
export const doorName = "manyworlds-oci";
const executableName = "manyworlds";
/**
 * Options of Bun's JavaScriptCore for a process of a few milliseconds: nothing in it runs often
 * enough to be compiled, nor makes enough objects for memory to be touched beforehand. Both would
 * happen on threads of their own, a tenth of the processor time. A Bun that does not know one of
 * them refuses to start; test/scripts/build.test.ts would see it.
 */
const environmentAdded = [
  "BUN_JSC_thresholdForJITAfterWarmUp=1000000",
  "BUN_JSC_useWarmUpMarkedBlocks=0",
] as const;
/** With more variables than this, it starts without ours. */
const variableLimit = 4000;
const pathLimit = 4096;
const AT_EXECFN = 31;
const notFound = 127;

/**
 * `argv` and `environment`: variables that hold the addresses of the vectors; `name`: address of
 * what the executable is called by; `thaws`: whether its frozen process may do the verb.
 */
export function planFallback(rows: DoorRows): void {
  const path = rows.buffer("path", pathLimit + executableName.length + 1);
  rows.label("fallback");
  const quiet = { onError: "by_name" };
  rows.call("readlinkat", [AT_FDCWD, "/proc/self/exe", path, pathLimit], quiet);
  rows.set("end", rows.compute({ last: true }, "+", path));
  planNeighbour(rows, path);
  rows.gotoIf("cold", rows.get("thaws"), "==", 0);
  planThaw(rows, path);
  planEnvironment(rows);
  planBecome(rows, path, "by_name");
  rows.label("by_name");
  planEnvironment(rows);
  planExecutedPath(rows, path);
  planNeighbour(rows, path);
  planBecome(rows, path, "lost");
  rows.label("lost");
  const text = `${doorName}: Cannot find "${executableName}", expected it beside ${doorName}\n`;
  rows.call("write", [2, text, Buffer.byteLength(text)], { onError: "lost_quietly" });
  rows.label("lost_quietly");
  rows.call("exit_group", [notFound]);
}

/** Ours and then the caller's, in a vector of our own: `variables`. */
function planEnvironment(rows: DoorRows): void {
  const [next, end, done] = ["count_variable", "all_variables", "environment_made"].map((what) =>
    rows.freshLabel(what),
  ) as [string, string, string]; // SAFE: one for each
  const size = 8 * (variableLimit + environmentAdded.length + 1);
  const vector = rows.buffer("environment_vector", size);
  rows.set("variables", rows.get("environment"));
  rows.set("entry", rows.get("environment"));
  rows.label(next);
  rows.gotoIf(end, rows.read(rows.get("entry"), 8), "==", 0);
  rows.advance("entry", 8);
  rows.goto(next);
  rows.label(end);
  const bytes = rows.compute(rows.get("entry"), "-", rows.get("environment"));
  rows.gotoIf(done, bytes, ">", 8 * variableLimit);
  environmentAdded.forEach((value, index) => {
    rows.add({ store: { ...vector, offset: 8 * index }, value, width: 8 });
  });
  const to = { ...vector, offset: 8 * environmentAdded.length };
  // The NULL behind the last one lies in memory that is zero.
  rows.add({ copy: rows.get("environment"), to, length: bytes });
  rows.set("variables", vector);
  rows.label(done);
}

/** Copies what AT_EXECFN says into `path`, and leaves where it ends in `end`. */
function planExecutedPath(rows: DoorRows, path: Argument): void {
  rows.set("entry", rows.get("environment"));
  rows.label("next_variable");
  const variable = rows.read(rows.get("entry"), 8);
  rows.advance("entry", 8);
  rows.gotoIf("next_variable", variable, "!=", 0);
  rows.label("next_auxiliary");
  const type = rows.read(rows.get("entry"), 8);
  rows.gotoIf("lost", type, "==", 0);
  const value = rows.read(rows.compute(rows.get("entry"), "+", 8), 8);
  rows.advance("entry", 16);
  rows.gotoIf("next_auxiliary", type, "!=", AT_EXECFN);
  rows.scan("length", value, () => rows.gotoIf("lost", rows.get("length"), ">", pathLimit - 2));
  rows.add({ copy: value, to: path, length: rows.get("length") });
  rows.set("end", rows.compute(rows.get("length"), "+", path));
}

/** Puts the executable's name behind the last slash before `end`. */
function planNeighbour(rows: DoorRows, path: Argument): void {
  const [back, found] = [rows.freshLabel("back"), rows.freshLabel("slash")];
  rows.label(back);
  rows.gotoIf(found, rows.get("end"), "==", path);
  const before = rows.compute(rows.get("end"), "-", 1);
  rows.gotoIf(found, rows.read(before, 1), "==", "/".charCodeAt(0));
  rows.set("end", before);
  rows.goto(back);
  rows.label(found);
  // The door under the executable's name would execute itself for ever.
  rows.gotoIfText("lost", rows.get("end"), executableName);
  rows.add({ copy: executableName, to: rows.get("end"), length: executableName.length + 1 });
}

function planBecome(rows: DoorRows, path: Argument, onError: string): void {
  rows.add({ copy: { buffer: "name" }, to: rows.get("argv"), length: 8 });
  rows.call("execve", [path, rows.get("argv"), rows.get("variables")], { onError });
}
