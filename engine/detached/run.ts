/** `run -d` of a container: made by this process, which then becomes its keeper. */
import { call, Fd, O_CLOEXEC } from "../../linux/index.ts";
import { writeIdFile } from "../id-file.ts";
import { launch } from "../launch.ts";
import { openPlaces } from "../places.ts";
import { discard } from "../prepare.ts";
import { type ForegroundRequest, prepareRun } from "../run.ts";
import { becomeKeeper } from "./keeper.ts";

export interface DetachedRequest extends ForegroundRequest {
  /** Words that execute this program. */
  readonly self: readonly string[];
  /** Whoever waits for the container hears that it runs. */
  readonly report: (id: string) => void;
}

/** Returns only by throwing. */
export async function runDetached(request: DetachedRequest): Promise<never> {
  const places = openPlaces(request.root);
  const prepared = await prepareRun(places, request);
  const { record, lock } = prepared;
  const { container: options, idFile, self, report } = request;
  const [output, outputEnd] = makePipe();
  const [errors, errorsEnd] = makePipe();
  const [inputEnd, input] = makePipe();
  let launched: ReturnType<typeof launch>;
  try {
    if (idFile !== undefined) writeIdFile(idFile, record.id);
    launched = launch(places, prepared, {
      stdin: options.interactive ? inputEnd.number : undefined,
      stdout: outputEnd.number,
      stderr: errorsEnd.number,
      init: options.init ?? false,
    });
  } catch (error) {
    discard(places, record, lock);
    throw error;
  }
  for (const fd of [outputEnd, errorsEnd, inputEnd]) fd.close();
  const { container, terminal } = launched;
  report(record.id);
  becomeKeeper({
    pid: container.pid,
    pidfd: container.pidfd.number,
    outputs: terminal === undefined ? [output.number, errors.number] : [terminal.number],
    held: options.interactive && terminal === undefined ? [input.number] : [],
    lock: lock.number,
    log: places.containers.path(record.id, "log"),
    exitStatus: places.containers.path(record.id, "exit-status"),
    atEnd: [...self, "--root", places.root, "ps", "--quiet"],
    env: Object.entries(process.env).map(([name, value]) => `${name}=${value ?? ""}`),
  });
}

function makePipe(): readonly [read: Fd, write: Fd] {
  const ends = new Int32Array(2);
  call("pipe2", new Uint8Array(ends.buffer), O_CLOEXEC);
  const [read = -1, write = -1] = ends;
  return [Fd.take(read), Fd.take(write)];
}
