/** Linux and our agent on the software CPU, its vCPU on a thread of its own. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { call, encodeExecutable } from "../../../linux/index.ts";
import {
  GuestNotReadyError,
  type Sandbox,
  type SandboxConfig,
  startGuestProcess,
  startSandbox,
} from "../../../vmm-sandbox/index.ts";
import { SoftwareBackend } from "../../../vmm-sandbox/translator/index.ts";

const MiB = 2 ** 20;
const kernelFile = process.env["MANYWORLDS_GUEST_KERNEL"] ?? ".cache/guest-kernel/current/bzImage";
const busybox = "/bin/busybox";

/** A guest reports what it freed two seconds later. */
const REPORT_TIMEOUT_MS = 60_000;

/** Of the guest's RAM: the engine's own memory comes and goes. mincore(2) */
function residentBytes(backend: SoftwareBackend, sizeBytes: number): number {
  const pages = new Uint8Array(sizeBytes / 4096);
  call("mincore", backend.memory.window(0, sizeBytes), sizeBytes, pages);
  return pages.reduce((sum, page) => sum + (page & 1), 0) * 4096;
}

async function until(isTrue: () => boolean): Promise<void> {
  const end = Date.now() + REPORT_TIMEOUT_MS;
  while (!isTrue()) {
    assert.ok(Date.now() < end, `not within ${REPORT_TIMEOUT_MS / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

describe("Linux on the software CPU, with the agent", function () {
  this.timeout(120_000);

  before(function () {
    const missing = [kernelFile, busybox].filter((file) => !existsSync(file));
    if (missing.length === 0) return;
    console.log(`    needs ${missing.join(" and ")} (npm run guest:kernel; busybox-static)`);
    this.skip();
  });

  async function start(config: Partial<SandboxConfig> = {}): Promise<Sandbox> {
    return await startSandbox({
      backend: new SoftwareBackend({ memorySizeBytes: 128 * MiB }),
      kernel: { image: readFileSync(kernelFile), modules: [] },
      files: [{ path: "busybox", type: "file", mode: 0o755, data: readFileSync(busybox) }],
      ...config,
    });
  }

  const run = async (sandbox: Sandbox, script: string, input = "") => {
    const process = await startGuestProcess(sandbox.kernel, sandbox.host, {
      terminal: false,
      rows: [
        {
          call: "execve",
          args: ["/busybox", { strings: ["sh", "-c", script] }, { strings: ["PATH=/"] }],
        },
      ],
    });
    const feed = async () => {
      const writer = process.stdin.getWriter();
      await writer.write(Buffer.from(input));
      await writer.close();
    };
    const text = async (stream: ReadableStream<Uint8Array> | undefined) => {
      let all = "";
      if (stream) for await (const bytes of stream) all += Buffer.from(bytes).toString();
      return all;
    };
    const [stdout, stderr, status] = await Promise.all([
      text(process.stdout),
      text(process.stderr),
      process.exited,
      feed(),
    ]);
    return { stdout, stderr, status };
  };

  it("runs a process with its streams, carries megabytes, idles, and powers off", async () => {
    const sandbox = await start();
    assert.deepEqual(await run(sandbox, "/busybox cat; echo problem >&2; exit 7", "hello\n"), {
      stdout: "hello\n",
      stderr: "problem\n",
      status: 7 << 8,
    });
    const data = Buffer.from(Array.from({ length: MiB }, (_, i) => 97 + ((i * i) % 26))).toString();
    const { stdout } = await run(sandbox, "/busybox cat", data);
    assert.ok(stdout === data, "a megabyte went out and came back unchanged");
    await new Promise((resolve) => setTimeout(resolve, 2000)); // what a boot leaves for later
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 3000));
    const { user, system } = process.cpuUsage(before);
    const share = (user + system) / 3e6;
    assert.ok(share < 0.1, `an idle guest used ${(share * 100).toFixed(1)} % of a processor`);
    await sandbox[Symbol.asyncDispose]();
    assert.deepEqual(await sandbox.ended, { kind: "power-off" });
  });

  it("says what its CPU has counted while it runs, while it idles and when it has stopped", async () => {
    await using sandbox = await start();
    const busy = run(sandbox, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done");
    const first = await sandbox.vm.stats();
    assert.equal((await busy).stdout, "done\n");
    await new Promise((resolve) => setTimeout(resolve, 300));
    const second = await sandbox.vm.stats();
    sandbox.vm.machine.stop({ kind: "stopped" });
    await sandbox.ended;
    const third = await sandbox.vm.stats();
    assert.ok(first !== undefined && second !== undefined && third !== undefined);
    assert.ok(first.exits.fuel < second.exits.fuel && second.exits.fuel <= third.exits.fuel);
    const pushf = (report: typeof first) =>
      report.sensitive.find(({ instruction }) => instruction === "PUSHF");
    assert.ok((pushf(first)?.kernel ?? 0) > 1000, "Linux saves flags all the time");
    assert.equal(pushf(first)?.user, 0);
    assert.ok(first.translation.runs > 10_000 && first.hitRate > 0 && first.hitRate <= 1);
    assert.deepEqual(second.refused.instructions, {});
  });

  it("counts sensitive instructions of programs, and names what CPUID does not offer", async () => {
    const elf = encodeExecutable({
      // sidt [rsp-16]; smsw eax; pushf; popf; vaddps ymm0, ymm0, ymm0, which is AVX
      code: Buffer.from("0f014c24f0" + "0f01e0" + "9c9d" + "c5fc58c0", "hex"),
      entry: 0,
      data: new Uint8Array(16),
      dataBytes: 4096,
    });
    await using sandbox = await start({
      files: [
        { path: "busybox", type: "file", mode: 0o755, data: readFileSync(busybox) },
        { path: "program", type: "file", mode: 0o755, data: elf },
      ],
    });
    const { stdout } = await run(sandbox, "/program; echo $?");
    assert.equal(stdout, "132\n", "AVX raised #UD: SIGILL");
    const report = await sandbox.vm.stats();
    const user = Object.fromEntries(
      report?.sensitive.map(({ instruction, user }) => [instruction, user]) ?? [],
    );
    const { SIDT, SMSW, PUSHF, POPF, SGDT } = user;
    assert.deepEqual(
      { SIDT, SMSW, PUSHF, POPF, SGDT },
      { SIDT: 1, SMSW: 1, PUSHF: 1, POPF: 1, SGDT: 0 },
    );
    assert.deepEqual(Object.values(report?.refused.instructions ?? {}), [1]);
  });

  it("reads and writes disks, executes what a device wrote into RAM", async () => {
    const folder = mkdtempSync(join(tmpdir(), "disks-"));
    const program = Buffer.alloc(Math.ceil(statSync(busybox).size / 4096) * 4096);
    readFileSync(busybox).copy(program);
    writeFileSync(join(folder, "program"), program);
    writeFileSync(join(folder, "out"), Buffer.alloc(4 * MiB));
    {
      await using sandbox = await start({
        disks: [
          { path: join(folder, "program"), readOnly: true },
          { path: join(folder, "out"), readOnly: false },
        ],
      });
      const script = `
        /busybox mount -t devtmpfs dev /dev
        /busybox dd if=/dev/vda of=/dev/vdb bs=64k conv=fsync 2>/dev/null
        /busybox mount -t tmpfs none /tmp
        i=0; while [ $i -lt 5 ]; do
          /busybox dd if=/dev/vda of=/tmp/busybox bs=64k iflag=direct 2>/dev/null
          /busybox chmod 755 /tmp/busybox; /tmp/busybox echo copy $i; i=$((i+1))
        done`;
      const { stdout, stderr } = await run(sandbox, script);
      assert.equal(stdout, "copy 0\ncopy 1\ncopy 2\ncopy 3\ncopy 4\n", stderr);
    }
    const written = readFileSync(join(folder, "out")).subarray(0, program.length);
    assert.ok(written.equals(program));
    rmSync(folder, { recursive: true });
  });

  it("gives back to the host what the guest freed", async () => {
    const memorySizeBytes = 192 * MiB;
    const backend = new SoftwareBackend({ memorySizeBytes });
    await using sandbox = await start({ backend });
    const write = "/busybox dd if=/dev/zero of=/tmp/big bs=1M count=64";
    await run(
      sandbox,
      `/busybox mount -t devtmpfs dev /dev; /busybox mount -t tmpfs none /tmp; ${write}`,
    );
    const full = residentBytes(backend, memorySizeBytes);
    await run(sandbox, "/busybox rm /tmp/big");
    await until(() => full - residentBytes(backend, memorySizeBytes) > 40 * MiB);
    // What was given back is memory like any other.
    const { stdout } = await run(
      sandbox,
      `${write}; /busybox cp /busybox /tmp/big; /busybox md5sum < /tmp/big; /busybox md5sum < /busybox`,
    );
    const [copy, original] = stdout.split("\n");
    assert.equal(copy, original);
  });

  it("reports a panic with the guest's own last words", async () => {
    await assert.rejects(
      start({ commandLine: "rdinit=/nonexistent root=/dev/nothing loglevel=4" }),
      (error: unknown) => error instanceof GuestNotReadyError && /Kernel panic/.test(error.message),
    );
  });
});
