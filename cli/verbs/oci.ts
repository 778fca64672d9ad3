/** For `manyworlds help oci`: the command line itself goes straight to the runtime (main.ts). */
import { main } from "../../runtime/oci-main.ts";
import type { Handler } from "../command.ts";

export const oci: Handler = ({ args }) => main(args, process.env);
