import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { completeWords } from "../../cli/completion.ts";
import { completionScripts } from "../../cli/completion-scripts.ts";

function words(...typed: string[]): string[] {
  return completeWords(typed).candidates.map(({ word }) => word);
}

describe("completeWords()", () => {
  it("offers verbs", () => {
    assert.ok(words("").includes("run"));
    assert.deepEqual(words("pus"), ["push"]);
    assert.ok(!words("").some((word) => word.startsWith("__")));
  });
  it("offers the second word of a group", () => {
    assert.deepEqual(words("image", "pr"), ["prune"]);
    assert.ok(words("image", "").includes("ls"));
  });
  it("offers flags, but none that does not work yet", () => {
    assert.deepEqual(words("run", "--cap"), ["--cap-add", "--cap-drop"]);
    assert.deepEqual(words("run", "--publi"), []);
  });
  it("offers words of a flag, after a space and after =", () => {
    assert.deepEqual(words("run", "--pull", ""), ["always", "missing", "never"]);
    assert.deepEqual(words("run", "--pull=a"), ["--pull=always"]);
  });
  it("asks for images where an image stands, also after flags with values", () => {
    for (const line of [
      ["run", ""],
      ["run", "-it", ""],
      ["run", "-e", "A=1", "--name", "web", "bu"],
    ]) {
      assert.equal(completeWords(line).names, "image", line.join(" "));
    }
  });
  it("offers files for the program's arguments and for flags that take files", () => {
    assert.equal(completeWords(["run", "busybox", "ls", ""]).files, true);
    assert.equal(completeWords(["run", "--env-file", ""]).files, true);
    assert.equal(completeWords(["run", "-itv", ""]).files, true);
  });
  it("offers shells", () => assert.deepEqual(words("completion", ""), ["bash", "zsh", "fish"]));
  it("offers nothing after the last argument", () =>
    assert.deepEqual(words("logout", "x", ""), []));
});

describe("the bash script", () => {
  /** Runs the script in a real bash whose `manyworlds` answers as __complete would. */
  function complete(line: string, answer: string): string[] {
    const script = `
      manyworlds() { printf '%s' "$ANSWER"; }
      command() { shift 0; "$@"; }
      ${completionScripts["bash"]}
      COMP_LINE="$LINE" COMP_POINT=\${#LINE}
      read -r -a COMP_WORDS <<< "$LINE"; [[ "$LINE" == *" " ]] && COMP_WORDS+=("")
      COMP_CWORD=$(( \${#COMP_WORDS[@]} - 1 ))
      _manyworlds
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr, status } = spawnSync("bash", ["--norc", "-c", script], {
      encoding: "utf8",
      env: { PATH: process.env["PATH"], LINE: line, ANSWER: answer },
    });
    assert.equal(stderr, "");
    assert.equal(status, 0);
    return stdout.split("\n").filter((each) => each !== "");
  }

  it("offers what the program answers", () => {
    assert.deepEqual(complete("manyworlds pu", "pull\tDownload\npush\tUpload\n"), ["pull", "push"]);
  });
  it("offers images at an empty word", () => {
    assert.deepEqual(complete("manyworlds run ", "busybox\timage\n"), ["busybox"]);
  });
});

describe("the scripts", () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    it(`for ${shell} are read by ${shell} without complaint`, function () {
      const directory = mkdtempSync(join(tmpdir(), "manyworlds-completion-"));
      const path = join(directory, "script");
      writeFileSync(path, completionScripts[shell] ?? "");
      const { status, stderr, error } = spawnSync(shell, ["-n", path], { encoding: "utf8" });
      rmSync(directory, { recursive: true });
      if (error !== undefined) {
        console.log(`      skipped: ${shell} is not installed`);
        this.skip();
      }
      assert.deepEqual([status, stderr], [0, ""]);
    });
  }
});
