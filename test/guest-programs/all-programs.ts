/** Every program; `npm run test:guest-programs` prepares and starts this. */
import { describePrograms } from "./compare-programs.ts";
import { guestMemoryBytes } from "./guest.ts";
import { programs } from "./programs.ts";

describePrograms("programs in a guest of the software CPU", programs, guestMemoryBytes.all);
