/** The page's looks: light, dark, phone and paper. No fonts or pictures are loaded. */
export const style = `
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --ink: #1d2228; --soft: #5d6670; --line: #dcd9d0; --card: #ffffff;
  --ours: #0b7285; --ours-soft: #0b728533; --peer: #8a8578; --peer-soft: #8a857833;
  --bare: #3d434a; --bare-soft: #3d434a2b; --warn: #9c5700;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --ink: #e6e4de; --soft: #9aa3ab; --line: #2f353b; --card: #1b1f23;
    --ours: #3bc9db; --ours-soft: #3bc9db38; --peer: #9c978b; --peer-soft: #9c978b38;
    --bare: #c9ced3; --bare-soft: #c9ced330; --warn: #ffb454;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 64rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif;
}
h1 { font-size: 2rem; line-height: 1.15; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .25rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p { margin: .25rem 0 .75rem; max-width: 46rem; }
.soft, small, caption { color: var(--soft); }
code { font: .9em ui-monospace, "Liberation Mono", monospace; overflow-wrap: anywhere; }
.legend span { margin-right: 1.25rem; white-space: nowrap; }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em; }
.lead { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
.lead div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem; }
.lead b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.plot { margin: .5rem 0 1rem; }
.row { display: grid; grid-template-columns: 10.5rem 1fr 13.5rem; gap: .75rem; align-items: center; }
.row .name { text-align: right; overflow-wrap: anywhere; line-height: 1.2; }
.row .value { font-variant-numeric: tabular-nums; white-space: nowrap; }
.track { width: 100%; display: block; overflow: visible; }
.ours { --mark: var(--ours); --mark-soft: var(--ours-soft); }
.peer { --mark: var(--peer); --mark-soft: var(--peer-soft); }
.bare { --mark: var(--bare); --mark-soft: var(--bare-soft); }
.ours .name { font-weight: 600; color: var(--ours); }
.grid { stroke: var(--line); }
.tick { fill: var(--soft); font-size: 12px; }
.dot { fill: var(--mark); opacity: .55; }
.box { fill: var(--mark-soft); stroke: var(--mark); stroke-opacity: .5; }
.median { stroke: var(--mark); stroke-width: 2.5; }
.bar { fill: var(--mark); opacity: .8; }
.spot { fill: var(--mark); }
.stem { stroke: var(--mark-soft); stroke-width: 2; }
.step { white-space: nowrap; margin-right: .6rem; } .chip { margin-right: .3rem; }
.steps { max-width: none; font-size: .93rem; }
dl.ways { font-size: .93rem; margin-bottom: 1rem; }
.whisker { stroke: var(--ink); stroke-width: 1.5; }
.phase { fill: var(--mark); }
.shade0 { opacity: .95; } .shade1 { opacity: .62; } .shade2 { opacity: .8; } .shade3 { opacity: .4; } .shade4 { opacity: .52; }
.small-multiples { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 2.5rem; }
.small-multiples .row { grid-template-columns: 7rem 1fr 8.5rem; font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem 1.4rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; vertical-align: bottom; }
td.n, th.n { text-align: right; }
td.n { white-space: nowrap; }
td.w { white-space: nowrap; }
.warn { color: var(--warn); }
details { margin: .75rem 0; } summary { cursor: pointer; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .5rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 640px) {
  body { padding: 1.25rem .9rem 3rem; }
  h1 { font-size: 1.6rem; }
  .row, .small-multiples .row { grid-template-columns: 1fr auto; gap: 0 .75rem; margin-bottom: .45rem; }
  .row .name { text-align: left; }
  .row .track { grid-column: 1 / -1; grid-row: 2; }
  .row.axis { margin-bottom: 0; }
  .row.axis .name, .row.axis .value { display: none; }
}
@media print {
  :root { --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --card: #fff; --ours: #0b5e6e; --ours-soft: #0b5e6e33; --peer: #777; --peer-soft: #7773; --bare: #222; --bare-soft: #2223; --warn: #6b3c00; }
  body { font-size: 10.5pt; max-width: none; padding: 0; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2, h3 { break-after: avoid; } .plot, tr, .lead div { break-inside: avoid; }
  details.raw { display: none; }
  .scroll { overflow: visible; }
}
`;
