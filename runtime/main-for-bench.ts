/** The OCI verbs alone as an executable, for benches and tests of the runtime folder. */
import { main } from "./oci-main.ts";

// Bytecode is made of CommonJS, which knows no await at its top.
main(process.argv.slice(2), process.env).then((code) => process.exit(code));
