/** A comparison as one page: no script, no font, no picture from anywhere else. */
import { claims, geometricMean } from "../claims.ts";
import type { Comparison, RungResult } from "../result.ts";
import { spreadOf } from "../statistics.ts";
import {
  FEW_SAMPLES,
  formatKiB,
  formatRatio,
  formatTime,
  measuredRungs,
  missingRungs,
} from "../summary.ts";
import { guestSection } from "./guest-section.ts";
import { boundaryTable, memorySection } from "./isolation-sections.ts";
import { embedJson, html, Markup } from "./markup.ts";
import { method } from "./method.ts";
import { startSection, timelineSection, workSection } from "./speed-sections.ts";
import { style } from "./style.ts";

/** The whole document, as text. */
export function toHtml(comparison: Comparison): string {
  const { image, command, date, machine } = comparison;
  const rungs = measuredRungs(comparison);
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${image} in every world</title>
<style>${new Markup(style)}</style>
</head>
<body>
<header>
<h1>One image, every world</h1>
<p><code>${image}</code>${command.length > 0 && html` running <code>${command.join(" ")}</code>`}
on ${machine["processor"]}, Linux ${machine["kernel"]}, ${machine["system"]}.
<span class="soft">manyworlds ${comparison.version}, ${date.slice(0, 16).replace("T", " ")} UTC.</span></p>
${warnings(comparison)}
${lead(comparison)}
<p class="legend soft"><span class="ours"><i style="background:var(--mark)"></i>manyworlds</span>
<span class="peer"><i style="background:var(--mark)"></i>peers on the same machine</span>
<span class="bare"><i style="background:var(--mark)"></i>no isolation</span></p>
</header>
<main>
${
  rungs.length > 0 &&
  html`${startSection(rungs)}
${timelineSection(rungs)}
${workSection(comparison)}
${memorySection(rungs)}
${boundaryTable(rungs)}`
}
${claimSection(comparison)}
${guestSection(comparison)}
${missingSection(comparison)}
${method(comparison)}
</main>
<details class="raw"><summary>Every sample, as JSON</summary>
<p class="soft">Also in this page's source, as the content of the element <code>#samples</code>.</p>
<script type="application/json" id="samples">${embedJson(comparison)}</script>
<div class="scroll"><pre><code>${JSON.stringify(comparison, undefined, 1)}</code></pre></div></details>
</body>
</html>
`;
  return page.text;
}

/** What a reader must know before believing a number. */
function warnings({ interrupted, quick, machine }: Comparison): readonly Markup[] {
  const [load = "0"] = (machine["load"] ?? "").split(" ");
  const processors = Number.parseInt(machine["processor"] ?? "1", 10);
  const texts = [
    interrupted && "It was interrupted: some parts have few samples or none.",
    quick && "A quick run: few samples, so the spreads are wide.",
    Number(load) > processors &&
      `The machine was busy with other things: load ${load} on ${processors} processors. Ratios are fairer than times.`,
    machine["manyworlds"] !== undefined &&
      "manyworlds ran from its sources, so its starts include their translation.",
  ].filter((text) => text !== false);
  return texts.map((text) => html`<p class="warn">${text}</p>`);
}

/** The few numbers that most people come for. */
function lead(comparison: Comparison): Markup {
  const ours = measuredRungs(comparison).filter(({ kind }) => kind === "ours");
  if (ours.length === 0) return html``;
  return html`<div class="lead">${ours.map(
    (rung) => html`<div><span class="soft">${rung.name} starts in</span>
<b>${formatTime(spreadOf(rung.start.firstInstruction).median)}</b>
<small>${leadDetail(rung, comparison)}</small></div>`,
  )}</div>`;
}

function leadDetail(rung: RungResult, comparison: Comparison): string {
  const mean = geometricMean(rung, comparison, "cpu");
  const count = rung.start.firstInstruction.length;
  return [
    count < FEW_SAMPLES && `from ${count === 1 ? "one start" : `${count} starts`} only`,
    mean !== undefined && `computing takes ${formatRatio(mean)} as long`,
    rung.memory !== undefined && `${formatKiB(rung.memory.pssKiB)} for the first one`,
    rung.boundary !== undefined && `${rung.boundary.kernel === "own" ? "own" : "shared"} kernel`,
  ]
    .filter((text) => text !== false)
    .join(" · ");
}

function claimSection(comparison: Comparison): Markup {
  return html`<section><h2>What people say, and what was measured here</h2>
<div class="scroll"><table><thead><tr><th>It is said</th><th>Measured</th></tr></thead><tbody>
${claims.map(({ says, measured }) => {
  const text = measured(comparison);
  return html`<tr><td>${says}</td><td>${text ?? html`<span class="soft">not measured here: a rung that it is about is missing</span>`}</td></tr>
`;
})}</tbody></table></div></section>`;
}

function missingSection(comparison: Comparison): Markup | undefined {
  const missing = missingRungs(comparison);
  if (missing.length === 0) return undefined;
  return html`<section><h2>Not measured, or not to the end</h2>
<div class="scroll"><table><thead><tr><th>World</th><th>Why</th><th>Cure</th></tr></thead><tbody>
${missing.map(
  (
    rung,
  ) => html`<tr><td>${rung.name}</td><td>${rung.missing?.reason}</td><td>${rung.missing?.cure ?? "–"}</td></tr>
`,
)}</tbody></table></div></section>`;
}
