/** How it was measured, on what: without this the numbers say nothing. */
import { workloads } from "../probe.ts";
import type { Comparison } from "../result.ts";
import { bareRung, formatTime, measuredRungs, notesOf } from "../summary.ts";
import { html, type Markup } from "./markup.ts";

export function method(comparison: Comparison): Markup {
  const rungs = measuredRungs(comparison);
  const bare = bareRung(comparison);
  return html`<section><h2>Method</h2>
<p>One sample of each world after the other, in an order that turns with every round, so that what slows
the machine down slows all of them. A static program of two pages, the probe, is mounted into each world
and started there; it reads the clock in its first instructions. A start is timed from before the fork of
the command that a user would type. Where the world shares this machine's kernel, the probe's clock is
ours; where it has its own, the arrival of the probe's first output counts. Loops run for a given time,
once without the clock before; of what the processor does alone, the fastest of many short batches in
each sample counts, of what waits for a device the mean. It took ${formatTime(comparison.tookMs)}.</p>
<details><summary>The worlds, and how each was run</summary><div class="scroll"><table><tbody>
${rungs.map(
  (
    rung,
  ) => html`<tr><td>${rung.name}</td><td>${[rung.description, ...notesOf(rung, bare)].join("; ")}</td><td class="n">${rung.start.whole.length} starts</td></tr>
`,
)}</tbody></table></div></details>
<details><summary>What each loop does</summary><dl>${workloads.map(({ name, what }) => html`<dt>${name}</dt><dd>${what}</dd>`)}</dl></details>
<details open><summary>This machine</summary><dl>${Object.entries(comparison.machine).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl></details>
</section>`;
}
