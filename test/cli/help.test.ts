import assert from "node:assert/strict";
import type { Command } from "../../cli/command.ts";
import { closest, formatError, UsageError } from "../../cli/errors.ts";
import { formatCommandHelp, formatGroupHelp, formatProgramHelp } from "../../cli/help.ts";
import { formatManualPage } from "../../cli/manual-page.ts";
import { commands } from "../../cli/table/index.ts";
import { assertGolden } from "./golden.ts";

describe("help", () => {
  it("of the program is as the golden file", () => assertGolden("help.txt", formatProgramHelp()));
  it("of a group is as the golden file", () =>
    assertGolden("help-image.txt", formatGroupHelp("image")));
  for (const command of commands.filter((row) => !row.name.startsWith("__"))) {
    it(`of ${command.name} is as the golden file`, () => {
      assertGolden(`help-${command.name.replace(" ", "-")}.txt`, formatCommandHelp(command));
    });
  }
  it("fits a terminal of 80 columns", () => {
    for (const command of commands) {
      for (const line of formatCommandHelp(command).split("\n")) {
        if (line.startsWith("  manyworlds ")) continue; // aliases stay on one line, as docker's
        assert.ok(line.length <= 80, line);
      }
    }
  });
  it("the manual page names every verb and flag", () => {
    const page = formatManualPage();
    for (const command of commands.filter((row) => row.group !== "hidden")) {
      assert.ok(page.includes(`.It Cm ${command.name} `), command.name);
    }
    assert.ok(page.includes(".It Fl m , Fl Fl memory Ar bytes"));
  });
});

describe("the table of commands", () => {
  it("has every flag of the issue", () => {
    const run = commands.find((row) => row.name === "run") as Command;
    const flags =
      "interactive tty env env-file volume mount tmpfs workdir user name rm entrypoint hostname " +
      "network read-only cap-add cap-drop security-opt privileged memory cpus pids-limit ulimit " +
      "shm-size init pull platform add-host dns sysctl device label";
    for (const flag of flags.split(" ")) {
      assert.ok(run.flags[flag] !== undefined && run.flags[flag]?.later === undefined, flag);
    }
  });
  it("uses no name and no letter twice", () => {
    const names = commands.flatMap((row) => [row.name, ...(row.aliases ?? [])]);
    assert.equal(new Set(names).size, names.length);
    for (const row of commands) {
      const letters = Object.values(row.flags).flatMap((flag) => flag.short ?? []);
      assert.equal(new Set(letters).size, letters.length, row.name);
    }
  });
});

describe("formatError()", () => {
  it("shows the causes and each hint once", () => {
    const root = Object.assign(new Error('mount("proc") failed with EPERM'), {
      hint: "use a PID namespace",
    });
    const top = Object.assign(new Error('Cannot start container "web"', { cause: root }), {
      hint: "use a PID namespace",
    });
    assert.equal(
      formatError(top, false),
      'manyworlds: Cannot start container "web"\n' +
        '  caused by: mount("proc") failed with EPERM\n' +
        "  hint: use a PID namespace",
    );
  });
  it("ends a usage error with where to read on", () => {
    const error = new UsageError("run", 'Unknown flag "--x"');
    assert.equal(
      formatError(error, false),
      "manyworlds: Unknown flag \"--x\"\nSee 'manyworlds run --help'",
    );
  });
  it("does not loop over causes that loop", () => {
    const error = new Error("a");
    error.cause = error;
    assert.ok(formatError(error, false).split("\n").length < 20);
  });
  it("closest() finds slips, not guesses", () => {
    assert.equal(closest("naem", ["name", "net"]), "name");
    assert.equal(closest("rnu", ["run", "rm"]), "run");
    assert.equal(closest("completely", ["run"]), undefined);
  });
});
