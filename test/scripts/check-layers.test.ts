import assert from "node:assert/strict";
import { checkLayers } from "../../scripts/house/check-layers.ts";
import { checkStyle } from "../../scripts/house/check-style.ts";
import { scanImports } from "../../scripts/house/scan-imports.ts";

const header = "/** Why. */\n";

/** What the checks say about one file that holds one line of code. */
function judge(file: string, code: string): readonly string[] {
  const sources = new Map([[file, header + code]]);
  return checkLayers(sources, new Set(["koffi", "undici", "iced-x86"])).map(
    (found) => found.message,
  );
}

describe("scripts/house", () => {
  it("scanImports() tells static, type and dynamic imports apart, over several lines", () => {
    const text = [
      '// import { no } from "./comment.ts";',
      'import "./side-effect.ts";',
      "import {",
      "  a,",
      '} from "./a.ts";',
      'import type { B } from "./b.ts";',
      'export * from "./c.ts";',
      'const d = await import("./d.ts");',
      'type E = typeof import("./e.ts");',
      "const text = \"import x from './no.ts'\";",
    ].join("\n");
    assert.deepEqual(
      scanImports(text).map(({ specifier, kind, line }) => `${line} ${kind} ${specifier}`),
      [
        "2 static ./side-effect.ts",
        "3 static ./a.ts",
        "6 type ./b.ts",
        "7 static ./c.ts",
        "8 dynamic ./d.ts",
        "9 type ./e.ts",
      ],
    );
  });

  for (const [why, file, code] of [
    ["down to a folder's index", "engine/run.ts", 'import { a } from "../image/index.ts";'],
    ["within a folder", "image/tar/read.ts", 'import { a } from "../store.ts";'],
    ["through a second door", "cli/main.ts", 'import("../runtime/oci-main.ts");'],
    ["deep into the folder a test mirrors", "test/oci/a.test.ts", 'import "../../oci/digest.ts";'],
    ["native code in a driver", "linux/koffi.ffi.ts", 'import koffi from "koffi";'],
    ["a slow package, lazily", "cli/main.ts", 'const u = await import("undici");'],
    ["a dependency", "image/save.ts", 'import { Decoder } from "iced-x86";'],
    ["a development tool in a script", "scripts/a.ts", 'import ts from "typescript";'],
  ] as const)
    it(`checkLayers() allows importing ${why}`, () => assert.deepEqual(judge(file, code), []));

  for (const [why, file, code, message] of [
    ["up", "oci/a.ts", 'import "../engine/index.ts";', /imports point down/],
    ["up for a type only", "linux/a.ts", 'import type { A } from "../oci/index.ts";', /point down/],
    ["a sibling in the middle", "image/a.ts", 'import "../runtime/index.ts";', /point down/],
    ["past a folder's index", "engine/a.ts", 'import "../image/store.ts";', /image\/index\.ts/],
    ["past the index of a folder not mirrored", "test/cli/a.ts", 'import "../../oci/b.ts";', /oci/],
    ["native code elsewhere", "runtime/a.ts", 'import { dlopen } from "bun:ffi";', /ffi\.ts/],
    ["kvm from the translator", "vmm-sandbox/translator/a.ts", 'import "../kvm/b.ts";', /not know/],
    ["a path without its ending", "oci/a.ts", 'import "./b";', /ends in \.ts/],
    ["a package that is not shipped", "cli/a.ts", 'import ts from "typescript";', /dependencies/],
  ] as const)
    it(`checkLayers() refuses importing ${why}`, () => {
      const [found = "nothing found", ...more] = judge(file, code);
      assert.match(found, message);
      assert.deepEqual(more, []);
    });

  it("checkLayers() names the chain from start-up to a slow package", () => {
    const sources = new Map([
      ["cli/main.ts", 'import { verbs } from "./verbs.ts";'],
      ["cli/verbs.ts", 'import { fetch } from "undici";'],
      ["cli/pull.ts", 'import { fetch } from "undici";'],
    ]);
    const found = checkLayers(sources, new Set(["undici"]));
    assert.equal(found.length, 1);
    assert.match(found[0]?.message ?? "", /cli\/main\.ts → cli\/verbs\.ts/);
  });

  for (const [why, file, text, message] of [
    ["a file of 401 lines", "oci/a.ts", header + "a();\n".repeat(400), /401 lines/],
    ["a vague name", "oci/utils.ts", header, /subject/],
    ["camel case", "oci/parseDigest.ts", header, /kebab-case/],
    ["a missing header", "oci/a.ts", "export {};\n", /header comment/],
    ["a stream object", "oci/a.ts", `${header}process.stdout.write("a");\n`, /descriptors/],
  ] as const)
    it(`checkStyle() refuses ${why}`, () => {
      const found = checkStyle(new Map([[file, text]]), new Set(["oci/README.md"]));
      assert.equal(found.length, 1);
      assert.match(found[0]?.message ?? "", message);
    });

  it("checkStyle() does not count the lines of a marked table", () => {
    const rows = '  ["a", 1],\n'.repeat(600);
    const text = `${header}// biome-ignore format: table\nconst rows = [\n${rows}];\n`;
    assert.deepEqual(checkStyle(new Map([["oci/a.ts", text]]), new Set(["oci/README.md"])), []);
  });

  it("checkStyle() asks for a README in every folder", () => {
    const [found] = checkStyle(new Map([["oci/a.ts", header]]), new Set());
    assert.equal(found?.file, "oci/README.md");
  });
});
