import assert from "node:assert/strict";
import type { Parsed } from "../../cli/command.ts";
import { UsageError } from "../../cli/errors.ts";
import { parseArguments } from "../../cli/parse.ts";
import { pull } from "../../cli/table/image.ts";
import { run, type runFlags } from "../../cli/table/run.ts";

type RunValues = Parsed<typeof runFlags>["values"];

function parseRun(line: string | readonly string[]): Parsed<typeof runFlags> {
  const words = typeof line === "string" ? line.split(" ").filter((word) => word !== "") : line;
  const parsed = parseArguments(run, words);
  assert.ok(!("help" in parsed), "expected flags, got help");
  return parsed;
}

function pick(values: RunValues, names: readonly string[]): unknown[] {
  return names.map((name) => values[name as keyof RunValues]);
}

/** What docker's parser makes of each line (spf13/pflag with interspersed arguments off). */
// biome-ignore format: table
const rows: readonly (readonly [line: string, names: string, values: readonly unknown[], args: string])[] = [
  ["busybox", "rm tty env", [false, false, []], "busybox"],
  ["--rm -it -eB=2 image ls -la --rm", "rm interactive tty env", [true, true, true, ["B=2"]], "image ls -la --rm"],
  ["-it x", "interactive tty", [true, true], "x"],
  ["-ti x", "interactive tty", [true, true], "x"],
  ["-it=false x", "interactive tty", [true, false], "x"],
  ["--rm=false x", "rm", [false], "x"],
  ["--rm=0 x", "rm", [false], "x"],
  ["--rm=T x", "rm", [true], "x"],
  ["--rm false", "rm", [true], "false"],
  ["--rm --rm=false x", "rm", [false], "x"],
  ["-e A=1 -e B=2 x", "env", [["A=1", "B=2"]], "x"],
  ["-eA=1 x", "env", [["A=1"]], "x"],
  ["-e=A=1 x", "env", [["A=1"]], "x"],
  ["--env=A=1 x", "env", [["A=1"]], "x"],
  ["--env A=1 x", "env", [["A=1"]], "x"],
  ["-e -x x", "env", [["-x"]], "x"],
  ["-e --rm x", "env rm", [["--rm"], false], "x"],
  ["-ite A=1 x", "interactive tty env", [true, true, ["A=1"]], "x"],
  ["-iteA=1 x", "interactive tty env", [true, true, ["A=1"]], "x"],
  ["-- x --rm", "rm", [false], "x --rm"],
  ["--rm -- --rm", "rm", [true], "--rm"],
  ["x -- y", "rm", [false], "x -- y"],
  ["- y", "rm", [false], "- y"],
  ["-h web x", "hostname", ["web"], "x"],
  ["--net host x", "network", ["host"], "x"],
  ["--net=none x", "network", ["none"], "x"],
  ["-m 64m --cpus 1.5 --pids-limit=10 x", "memory cpus pids-limit", [67108864, 1.5, 10], "x"],
  ["--cpus .5 x", "cpus", [0.5], "x"],
  ["-u 1000:1000 -w /tmp x", "user workdir", ["1000:1000", "/tmp"], "x"],
  ["--entrypoint= x", "entrypoint", [""], "x"],
  ["--ulimit nofile=10:20 --ulimit core=-1 x", "ulimit", [[{ name: "nofile", soft: 10, hard: 20 }, { name: "core", soft: -1, hard: -1 }]], "x"],
  ["--label a=b -l c x", "label", [[["a", "b"], ["c", ""]]], "x"],
  ["--add-host db:10.0.0.1 --add-host v6=[::1] x", "add-host", [[{ host: "db", address: "10.0.0.1" }, { host: "v6", address: "::1" }]], "x"],
  ["--shm-size 1g x", "shm-size", [1073741824], "x"],
  ["--sig-proxy=false x", "sig-proxy", [false], "x"],
  ["--sysctl net.core.somaxconn=10 x", "sysctl", [[["net.core.somaxconn", "10"]]], "x"],
  ["--device /dev/null:/dev/x:r x", "device", [[{ source: "/dev/null", target: "/dev/x", access: "r" }]], "x"],
  ["--device /dev/null:r x", "device", [[{ source: "/dev/null", target: "/dev/null", access: "r" }]], "x"],
  ["--tmpfs /t:size=1m,mode=700,exec x", "tmpfs", [[{ type: "tmpfs", target: "/t", sizeBytes: 1048576, mode: 0o700, options: ["exec"] }]], "x"],
  ["-v /a:/b:ro x", "volume", [[{ type: "bind", source: "/a", target: "/b", createSource: true, readOnly: true }]], "x"],
  ["-v /a:/b/ x", "volume", [[{ type: "bind", source: "/a", target: "/b", createSource: true }]], "x"],
  ["-v /a:/b:rslave,z x", "volume", [[{ type: "bind", source: "/a", target: "/b", createSource: true, propagation: "rslave" }]], "x"],
  ["--mount type=bind,src=/a,dst=/b,ro x", "mount", [[{ type: "bind", source: "/a", target: "/b", readOnly: true }]], "x"],
  ['--mount type=bind,"source=/a,1",target=/b x', "mount", [[{ type: "bind", source: "/a,1", target: "/b" }]], "x"],
  ["--mount type=tmpfs,target=/t,tmpfs-size=1k,tmpfs-mode=0700 x", "mount", [[{ type: "tmpfs", target: "/t", sizeBytes: 1024, mode: 0o700 }]], "x"],
  ["--security-opt no-new-privileges --security-opt seccomp=unconfined x", "security-opt", [[{ noNewPrivileges: true }, { seccomp: "unconfined" }]], "x"],
  ["--cpu-stats x y", "cpu-stats", [""], "x y"],
  ["--cpu-stats=out.json x", "cpu-stats", ["out.json"], "x"],
  ["x", "cpu-stats", [undefined], "x"],
  ["--detach-keys ctrl-a,q x", "detach-keys", [Uint8Array.of(1, 113)], "x"],
];

/** Lines that docker refuses too, and the part of our message that says why. */
// biome-ignore format: table
const bad: readonly (readonly [why: string, line: string, message: RegExp])[] = [
  ["an unknown flag", "--nope x", /^Unknown flag "--nope"$/],
  ["an unknown letter in a cluster", "-iz x", /^Unknown flag "-z" in "-iz"$/],
  ["no image", "--rm", /needs at least 1 argument, got 0/],
  ["a flag without its value", "-e", /"--env" needs a value/],
  ["a switch with a wrong word", "--rm=maybe x", /Invalid value "maybe" for "--rm": expected true or false/],
  ["no size", "-m abc x", /"-m, --memory": expected a size/],
  ["a negative size", "-m -5m x", /expected a size/],
  ["no number of CPUs", "--cpus x x", /expected a number of CPUs/],
  ["an exponent as CPUs", "--cpus 1e3 x", /expected a number of CPUs/],
  ["a wrong pull policy", "--pull sometimes x", /expected always, missing, never/],
  ["a volume with too many parts", "-v /a:/b:ro:x x", /expected HOST-PATH:CONTAINER-PATH/],
  ["a volume without target", "-v /a x", /expected HOST-PATH:CONTAINER-PATH/],
  ["a relative target", "-v /a:b x", /expected an absolute path/],
  ["a named volume", "-v data:/b x", /volumes come later/],
  ["a mount of unknown type", "--mount type=foo,target=/a x", /expected type=bind or type=tmpfs/],
  ["a mount without target", "--mount type=bind,source=/a x", /expected target=PATH/],
  ["a mount with unknown key", "--mount type=bind,source=/a,target=/b,foo=1 x", /got "foo"/],
  ["an unknown limit", "--ulimit foo=1 x", /expected one of core, cpu/],
  ["a soft limit above the hard", "--ulimit nofile=3:2 x", /not above the hard one/],
  ["a limit without number", "--ulimit nofile=a x", /expected NAME=SOFT/],
  ["an address with a name in it", "--dns nope x", /expected an IPv4 or IPv6 address/],
  ["a host without address", "--add-host web x", /expected HOST:ADDRESS/],
  ["an unknown security option", "--security-opt foo=1 x", /expected seccomp=FILE/],
  ["a relative working directory", "-w tmp x", /expected an absolute path/],
  ["a name of one letter", "--name a x", /expected letters, digits/],
  ["an unreadable env file", "--env-file /nowhere/x x", /cannot read it \(ENOENT\)/],
  ["a wrong device access", "--device /dev/null:/dev/x:q x", /expected r, w and m/],
  ["what a later release brings", "-p 80 x", /"--publish" is not supported yet/],
  ["ports without a bridge", "-p 80:80 x", /"--publish" is not supported yet/],
];

describe("parseArguments()", () => {
  for (const [line, names, values, args] of rows) {
    it(`reads "run ${line}" as docker does`, () => {
      const parsed = parseRun(line);
      assert.deepEqual(pick(parsed.values, names.split(" ")), values);
      assert.equal(parsed.args.join(" "), args);
    });
  }

  for (const [why, line, message] of bad) {
    it(`refuses ${why}`, () => {
      assert.throws(
        () => parseRun(line),
        (error) => error instanceof UsageError && message.test(error.message),
      );
    });
  }

  it("takes the last of several values", () => {
    assert.equal(parseRun("--name aa --name bb x").values.name, "bb");
  });

  it("takes flags after the argument where nothing else can stand there", () => {
    const parsed = parseArguments(pull, ["busybox", "--platform", "linux/arm64", "-q"]);
    assert.ok(!("help" in parsed));
    assert.deepEqual(parsed.args, ["busybox"]);
    assert.equal(parsed.values.platform, "linux/arm64");
    assert.equal(parsed.values.quiet, true);
  });

  it("asks for help, but not where -h is the host name", () => {
    assert.ok("help" in parseArguments(run, ["--rm", "--help"]));
    assert.ok("help" in parseArguments(pull, ["-h"]));
    assert.equal(parseRun("-h web x").values.hostname, "web");
    assert.deepEqual(parseRun("x --help").args, ["x", "--help"]);
  });

  it("suggests the flag that was meant", () => {
    assert.throws(
      () => parseRun("--naem x y"),
      (error) => error instanceof UsageError && error.hint === 'did you mean "--name"?',
    );
  });

  it("survives any words", () => {
    let seed = 1;
    const random = (below: number): number => {
      seed = (seed * 48271) % 0x7fffffff;
      return seed % below;
    };
    const parts = [
      "-",
      "--",
      "=",
      "e",
      "it",
      "rm",
      "name",
      "x",
      " ",
      "mount",
      "type=bind,",
      '"',
      ":",
      "/",
      "1",
      "\0",
    ];
    for (let round = 0; round < 3000; round++) {
      const words = Array.from({ length: random(5) }, () =>
        Array.from({ length: random(5) }, () => parts[random(parts.length)]).join(""),
      );
      try {
        parseArguments(run, words);
      } catch (error) {
        assert.ok(error instanceof UsageError, `${JSON.stringify(words)}: ${error}`);
      }
    }
  });
});
