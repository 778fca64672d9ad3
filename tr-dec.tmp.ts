import { Decoder, Instruction } from "/work/wt/translator/vmm-sandbox/translator/isa/decode.ts";
import { rows } from "/work/wt/translator/vmm-sandbox/translator/isa/instruction-set.ts";
import iced from "iced-x86";
import { readFileSync } from "node:fs";
console.log(rows.length);
const code = readFileSync(process.argv[2]!);
const start = Number(process.argv[3]), end = Number(process.argv[4]);
const d = new iced.Decoder(64, code.subarray(start, end), iced.DecoderOptions.None);
const ours = new Decoder(), into = new Instruction();
const bad = new Map<string, number>(); let n = 0, t = 0;
const ins = new iced.Instruction();
while (d.canDecode) {
  const at = start + d.position;
  d.decodeOut(ins);
  n++;
  const s = ours.decode(into, code, at, end, 64);
  if (ins.code === 0) { if (s === "ok") bad.set("we accept " + into.mnemonic, 1); continue; }
  if (s !== "ok" || into.length !== ins.length) {
    const k = s + " " + iced.Code[ins.code] + " " + (s === "ok" ? into.mnemonic : "");
    bad.set(k, (bad.get(k) ?? 0) + 1);
  }
}
console.log(n, [...bad].sort((a, b) => b[1] - a[1]).slice(0, 40));
