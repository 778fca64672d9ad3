/** `manyworlds logout`. */
import { logout as logOut } from "../../engine/index.ts";
import type { Handler } from "../command.ts";

export const logout: Handler = async ({ args }) => {
  const server = args[0] ?? "docker.io";
  await logOut(server);
  process.stderr.write(`Removed the login for ${server}\n`);
  return 0;
};
