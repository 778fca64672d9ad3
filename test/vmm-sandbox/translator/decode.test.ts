import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import {
  Code,
  DecoderOptions,
  Decoder as Oracle,
  Instruction as OracleInstruction,
} from "iced-x86";
import { Decoder, Instruction } from "../../../vmm-sandbox/translator/isa/decode.ts";
import { rows } from "../../../vmm-sandbox/translator/isa/instruction-set.ts";
import { Random } from "./vectors.ts";

/** Encodings of features that CPUID does not offer, so that we need not know them. */
const notOffered =
  /^(VEX|EVEX|XOP|MVEX|D3NOW|KNC|Xsave|Xrstor|Rdpkru|Wrpkru|Serialize|Invpcid|Invept|Invvpid|Monitor|Mwait|Rdseed|Vm|Svm|Skinit|Stgi|Clgi|Invlpga|Tdcall|Sea|Rdpru|Clzero|Psmash|Pvalidate|Rmp|Umonitor|Umwait|Tpause|Ptwrite|Incssp|Rdssp|Saveprevssp|Rstorssp|Wrss|Wruss|Setssbsy|Clrssbsy|Enclu?|Enclv|Pconfig|Aes|Pclmul|Sha|Gf2p8|Movdir|Enqcmd|Movbe|Adcx|Adox|Tzcnt|Lzcnt|Rdfsbase|Rdpid|Cldemote|Wbnoinvd|Clflushopt|Clwb|Prefetchw|Hreset|Uiret|Testui|Clui|Stui|Senduipi|Xbegin|Xabort|Xend|Xtest|Getsec|Rsm|Montmul|Xsha|Xcrypt|Xstore|Xstore_alt|Ccs_|Loadall|Cl1invmb|Ffreep|Fstp1|Fxch|Fcom|Jmpe|Ud0|Ud1|Extrq|Insertq|Movnts|Femms|Via_|Undoc|Zalloc|Rdmsrlist|Wrmsrlist|Wrmsrns|Lkgs|Eret|Prefetchit|Prefetchrst|Aadd|Aand|Aor|Axor|Cmpccxadd|Pbndkb|Seamcall|Seamops|Seamret|Rdudbg|Wrudbg|Tlbsync|Invlpgb|Mcommit|Sysexit|Sysenter|Rdpmc|Vmgexit|Bnd|Psmash)/;

/** Compares with iced at every start offset that our decoder or it accepts. */
function compare(
  bytes: Uint8Array,
  step: number,
): { readonly checked: number; readonly problems: Map<string, number> } {
  const ours = new Decoder();
  const into = new Instruction();
  const oracle = new Oracle(64, bytes, DecoderOptions.None);
  const expected = new OracleInstruction();
  const problems = new Map<string, number>();
  let checked = 0;
  for (let at = 0; at + 16 <= bytes.length; at += step) {
    oracle.position = at;
    oracle.decodeOut(expected);
    const status = ours.decode(into, bytes, at, bytes.length, 64);
    const name = expected.code === Code.INVALID ? "invalid" : (Code[expected.code] as string);
    checked++;
    const wrong =
      name === "invalid"
        ? status === "ok" && into.mnemonic !== "ud" && into.mnemonic !== "fpu"
        : status === "ok"
          ? into.length !== expected.length && into.mnemonic !== "ud"
          : !notOffered.test(name);
    if (wrong) {
      const key = `${name} against ${status} ${into.mnemonic}`;
      problems.set(key, (problems.get(key) ?? 0) + 1);
    }
    if (step === 0) break;
  }
  oracle.free();
  expected.free();
  return { checked, problems };
}

describe("the decoder", () => {
  it("has at least 600 instruction rows, each with a mnemonic", () => {
    assert.ok(rows.length >= 600);
    for (const row of rows) assert.match(row.mnemonic, /^[a-z][a-z0-9]*$/);
  });

  it("agrees with iced-x86 on the lengths of random bytes", () => {
    const random = new Random(7);
    const bytes = new Uint8Array(200_000);
    for (let i = 0; i < bytes.length; i++) bytes[i] = random.below(256);
    const { problems } = compare(bytes, 1);
    assert.deepEqual([...problems], []);
  });

  it("agrees with iced-x86 on real code, at every byte offset", () => {
    // The running program's own text: megabytes of compiler output.
    const file = readFileSync(process.execPath);
    const from = Math.floor(file.length * 0.55);
    const { problems, checked } = compare(file.subarray(from, from + 300_000), 1);
    assert.ok(checked > 200_000);
    assert.deepEqual([...problems], []);
  });

  it("reports an instruction cut off by the end of the page", () => {
    const into = new Instruction();
    const bytes = Uint8Array.of(0x48, 0x8b, 0x05, 1, 2, 3);
    assert.equal(new Decoder().decode(into, bytes, 0, bytes.length, 64), "truncated");
  });

  it("refuses more than fifteen bytes", () => {
    const bytes = new Uint8Array(20).fill(0x66);
    assert.equal(new Decoder().decode(new Instruction(), bytes, 0, bytes.length, 64), "undefined");
  });
});
