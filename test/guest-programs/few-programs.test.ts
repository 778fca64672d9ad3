import { describePrograms } from "./compare-programs.ts";
import { guestMemoryBytes } from "./guest.ts";
import { programs } from "./programs.ts";

const few = programs.filter(({ quick }) => quick);
describePrograms("some programs in a guest of the software CPU", few, guestMemoryBytes.few);
