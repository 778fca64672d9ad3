/** All rows of the suite, in the order of the specification. */
import type { Row } from "./row.ts";
import { lifecycleRows } from "./rows/lifecycle.ts";

export const allRows: readonly Row[] = [...lifecycleRows];
