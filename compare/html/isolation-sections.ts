/** The page's sections about weight and about what stands between a process and the host. */
import type { RungResult } from "../result.ts";
import { formatEstimate, formatKiB } from "../summary.ts";
import { bar } from "./marks.ts";
import { html, type Markup } from "./markup.ts";
import { drawPlot } from "./plot.ts";
import { scaleFor } from "./scale.ts";

export function memorySection(rungs: readonly RungResult[]): Markup {
  const weighed = rungs.flatMap(({ name, kind, memory, density }) =>
    memory === undefined ? [] : [{ name, kind, memory, density }],
  );
  if (weighed.length === 0) return html``;
  const scale = scaleFor(
    weighed.map(({ memory }) => memory.pssKiB),
    "binary",
  );
  return html`<section><h2>Memory</h2>
<p class="soft">Proportional set size of every process that the first world consists of, while the process
inside waits: its own page or two, and all that holds it.</p>
${drawPlot({
  label: "Memory of one world",
  scale,
  formatTick: formatKiB,
  rows: weighed.map(({ name, kind, memory }) => ({
    name,
    kind,
    marks: bar({ median: memory.pssKiB, low: memory.pssKiB, high: memory.pssKiB }, scale),
    value: formatKiB(memory.pssKiB),
  })),
})}
<p class="soft">How many fit: what each one more adds was measured with as many as were tried together; what
would fit in this machine's memory is extrapolated from that, never tried.</p>
<div class="scroll"><table>
<thead><tr><th>World</th><th>Processes</th><th class="n">Each one more</th><th class="n">Tried</th><th class="n">Would fit</th></tr></thead><tbody>
${weighed.map(
  ({ name, memory, density }) => html`<tr><td class="w">${name}</td><td>${memory.processes
    .map((each) => `${each.name} ${formatKiB(each.pssKiB)}`)
    .join(
      ", ",
    )}</td><td class="n">${density === undefined ? "–" : formatKiB(density.eachKiB)}</td><td class="n">${density?.together ?? "–"}</td><td class="n">${density === undefined ? "–" : formatEstimate(density.fits)}</td></tr>
`,
)}</tbody></table></div></section>`;
}

export function boundaryTable(rungs: readonly RungResult[]): Markup {
  const known = rungs.flatMap(({ name, boundary }) =>
    boundary === undefined ? [] : [{ name, boundary }],
  );
  if (known.length === 0) return html``;
  return html`<section><h2>Between the process and the host</h2>
<p class="soft">As the host's kernel tells it: the seccomp filters were run for every system call that
there is, with arguments of zero. A process that this machine's process table shows runs on its kernel; where
the table does not show it, it has its own, and the other columns tell of the process that holds that.</p>
<div class="scroll"><table><thead><tr><th>World</th><th>Kernel</th><th class="n">System calls that reach the host</th><th>Capabilities</th><th class="n">Host user</th><th>Own namespaces</th></tr></thead><tbody>
${known.map(
  ({
    name,
    boundary,
  }) => html`<tr><td class="w">${name}</td><td class="w">${boundary.kernel === "own" ? html`its own${boundary.kernelRelease !== undefined && html`<br><small>${boundary.kernelRelease}</small>`}` : "the host's"}</td>
<td class="n">${boundary.reachableSyscalls ?? "filtered"} of ${boundary.knownSyscalls}</td>
<td>${capabilityWords(boundary.capabilities)}</td><td class="n">${boundary.hostUser ?? "–"}</td>
<td>${boundary.namespaces.join(", ") || "none"}</td></tr>
`,
)}</tbody></table></div></section>`;
}

function capabilityWords(names: readonly string[]): Markup {
  if (names.length === 0) return html`none`;
  const list = names.map((name) => name.replace(/^CAP_/, "").toLowerCase()).join(", ");
  if (names.length > 20) return html`<b>${names.length}</b>`;
  return html`<b>${names.length}</b> <small>${list}</small>`;
}
