/** The page's section about what made x86 hard to virtualise, counted in a guest. */
import type { Comparison } from "../result.ts";
import { html, type Markup } from "./markup.ts";

export function guestSection({ guest }: Comparison): Markup | undefined {
  if (guest === undefined) return undefined;
  const { translation, hitRate, tlb, exceptions, interrupts, sensitive } = guest;
  const counted = sensitive.filter(({ kernel, user }) => kernel + user > 0);
  const others = sensitive.filter(({ kernel, user }) => kernel + user === 0);
  const count = (value: number): string => value.toLocaleString("en-US").replaceAll(",", " ");
  return html`<section><h2>What the software CPU met</h2>
<p class="soft">Popek and Goldberg (1974) asked that every instruction that shows or changes the machine's state
traps in user mode; x86 had ones that do not, and so, until its makers added VT-x and AMD-V, could be virtualised
by translation only. Counted while the guest kernel booted and the probe made system calls, touched pages, forked
and switched processes.</p>
<div class="scroll"><table><thead><tr><th>Sensitive, but without a trap</th><th class="n">by the kernel</th><th class="n">by programs</th><th>Executed as</th></tr></thead><tbody>
${counted.map(
  ({ instruction, kernel, user, handled }) =>
    html`<tr><td>${instruction}</td><td class="n">${count(kernel)}</td><td class="n">${count(user)}</td><td>${handled === "emitted" ? "WebAssembly, like any other" : "a function of the translator"}</td></tr>
`,
)}</tbody></table></div>
<p class="soft">Not once: ${others.map(({ instruction }) => instruction).join(", ") || "none"}.</p>
<dl><dt>translated</dt><dd>${count(translation.instructions)} instructions in ${count(translation.runs)} runs; ${count(translation.regions)} regions became compiled functions in ${count(translation.compileMs)} ms</dd>
<dt>code was there</dt><dd>${Math.round(hitRate * 100)} % of the times that the run loop asked for it</dd>
<dt>TLB</dt><dd>${count(tlb.misses)} misses, ${count(tlb.flushes)} flushes</dd>
<dt>interrupts, page faults</dt><dd>${count(interrupts)}, ${count(exceptions["14"] ?? 0)}</dd></dl></section>`;
}
