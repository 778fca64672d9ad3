/** The agent as an ordinary process that dials Unix sockets: all of a guest but the machine. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AF_UNIX, encodeElf, sockaddr_un } from "../../../linux/index.ts";
import {
  type Connection,
  connectionOf,
  type HostPorts,
  planAgent,
  RemoteKernel,
} from "../../../vmm-sandbox/guest/index.ts";

export interface LocalAgent extends AsyncDisposable {
  readonly kernel: RemoteKernel;
  readonly host: HostPorts;
  readonly process: ChildProcess;
  /** The agent's control connection. */
  readonly socket: Socket;
  readonly exited: Promise<number | null>;
  /** Takes the agent's next call to its control port. */
  acceptAgain(): Promise<Connection>;
}

/** What the agent exits with when the host hangs up. */
export const farewellStatus = 55;

export async function startLocalAgent(): Promise<LocalAgent> {
  const folder = mkdtempSync(join(tmpdir(), "manyworlds-agent-"));
  let nextPort = 1;
  const accepted: Socket[] = [];
  const address = (port: number) =>
    sockaddr_un.encode({ sun_family: AF_UNIX, sun_path: Buffer.from(join(folder, `${port}`)) });
  const accept = (port = nextPort++) => {
    let settle: (socket: Socket) => void;
    const socket = new Promise<Socket>((resolve) => {
      settle = resolve;
    });
    const server = createServer({ allowHalfOpen: true }, (dialled) => {
      accepted.push(dialled);
      settle(dialled);
      server.close();
    });
    server.listen(join(folder, `${port}`));
    const connection = socket.then(connectionOf);
    return { port, socket, connection, [Symbol.dispose]: () => void server.close() };
  };
  const control = accept();
  const program = planAgent({
    family: AF_UNIX,
    address: address(control.port),
    farewell: [{ end: farewellStatus }],
  });
  const path = join(folder, "agent");
  writeFileSync(path, encodeElf(program), { mode: 0o755 });
  const child = spawn(path, { stdio: "inherit" });
  const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const socket = await control.socket;
  return {
    kernel: await RemoteKernel.open(await control.connection),
    host: { family: AF_UNIX, address, accept: () => accept() },
    acceptAgain: () => accept(control.port).connection,
    process: child,
    socket,
    exited,
    async [Symbol.asyncDispose]() {
      // Streams that a test did not read to their end would keep this process alive.
      for (const one of accepted) one.destroy();
      await exited;
      rmSync(folder, { recursive: true });
    },
  };
}
