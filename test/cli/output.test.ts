import assert from "node:assert/strict";
import { drawItems, type Item } from "../../cli/output/bars.ts";
import { wantsColour } from "../../cli/output/color.ts";
import { formatListing } from "../../cli/output/format.ts";
import { chooseStyle, showProgress } from "../../cli/output/progress.ts";
import { formatTable, widthOf } from "../../cli/output/table.ts";
import { parseTemplate, TemplateError } from "../../cli/output/template.ts";
import {
  formatAge,
  formatDuration,
  formatSize,
  formatSpan,
  shortId,
} from "../../cli/output/units.ts";

describe("parseTemplate()", () => {
  const data = {
    ID: "sha256:abc",
    Name: "web",
    Size: 12,
    Tags: ["a", "b"],
    Config: { Env: ["A=1"], Labels: { x: "1", y: "2" }, Cmd: null },
  };
  // biome-ignore format: table
  const rows: readonly (readonly [string, string])[] = [
    ["plain", "plain"],
    ["{{.ID}}", "sha256:abc"],
    ["{{ .ID }}: {{.Size}}", "sha256:abc: 12"],
    ["{{.Config.Env}}", "[A=1]"],
    ["{{json .Tags}}", '["a","b"]'],
    ["{{json .Config}}", '{"Env":["A=1"],"Labels":{"x":"1","y":"2"},"Cmd":null}'],
    ["{{json .Config.Cmd}}", "null"],
    ["{{.Config.Labels}}", "map[x:1 y:2]"],
    ['{{index .Config.Labels "y"}}', "2"],
    ['{{index .Config.Labels "z"}}', ""],
    ["{{index .Tags 1}}", "b"],
    ["{{range .Tags}}<{{.}}>{{end}}", "<a><b>"],
    ["{{range $i, $t := .Tags}}{{$i}}={{$t}} {{end}}", "0=a 1=b "],
    ["{{range $k, $v := .Config.Labels}}{{$k}}{{$v}}{{end}}", "x1y2"],
    ["{{range .Config.Cmd}}x{{else}}none{{end}}", "none"],
    ["{{if .Name}}yes{{else}}no{{end}}", "yes"],
    ["{{if .Config.Cmd}}yes{{else if .Name}}maybe{{else}}no{{end}}", "maybe"],
    ["{{with .Config}}{{len .Env}}{{end}}", "1"],
    ['{{join .Tags ", "}}', "a, b"],
    ["{{upper .Name}}{{title .Name}}", "WEBWeb"],
    ['{{printf "%-5s|%3d|%q" .Name .Size .Name}}', 'web  | 12|"web"'],
    ["{{.Name | upper | printf \"%s!\"}}", "WEB!"],
    ["{{println .Name}}", "web\n"],
    ["a {{- .Name -}} b", "awebb"],
    ["{{/* nothing */}}x", "x"],
    ['{{if eq .Name "web"}}1{{end}}{{if gt .Size 5}}2{{end}}{{if not .Config.Cmd}}3{{end}}', "123"],
    ['{{if and .Name (eq .Size 12)}}ok{{end}}', "ok"],
    ["{{$x := .Name}}{{$x}}", "web"],
    ["{{.Config.Cmd}}", "<no value>"],
    ["{{.ID}}\\t{{.Name}}", "sha256:abc\tweb"],
  ];
  for (const [text, expected] of rows) {
    it(`renders ${text}`, () => assert.equal(parseTemplate(text)(data), expected));
  }
  // biome-ignore format: table
  const bad: readonly (readonly [string, string])[] = [
    ["no closing braces", "{{.ID"],
    ["no end", "{{if .ID}}x"],
    ["a stray end", "x{{end}}"],
    ["an unknown function", "{{nope .ID}}"],
    ["an unknown field", "{{.Nope}}"],
    ["an inherited property", "{{.constructor}}"],
    ["an empty action", "{{}}"],
    ["an open parenthesis", "{{(.ID}}"],
    ["arguments for a field", "{{.ID .Name}}"],
    ["an undefined variable", "{{$nope}}"],
    ["ranging over a text", "{{range .Name}}{{end}}"],
    ["endless padding", "{{pad .Name 99999999 0}}"],
    ["deep nesting", `${"{{if .ID}}".repeat(100)}`],
  ];
  for (const [why, text] of bad) {
    it(`refuses ${why}`, () => assert.throws(() => parseTemplate(text)(data), TemplateError));
  }
  it("names the fields there are", () => {
    assert.throws(() => parseTemplate("{{.Nam}}")(data), /known fields: ID, Name, Size/);
  });
});

describe("formatListing()", () => {
  const listing = {
    rows: [
      { ID: "1", Name: "one", CreatedAt: "now" },
      { ID: "22222", Name: "二", CreatedAt: "then" },
    ],
    columns: [
      { header: "ID", field: "ID" },
      { header: "NAME", field: "Name" },
    ],
  } as const;
  const rows: readonly (readonly [string | undefined, string])[] = [
    [undefined, "ID      NAME\n1       one\n22222   二\n"],
    ["table", "ID      NAME\n1       one\n22222   二\n"],
    ["table {{.Name}}\\t{{.CreatedAt}}", "NAME   CREATED AT\none    now\n二     then\n"],
    ["table {{upper .Name}}", "NAME\nONE\n二\n"],
    ["{{.ID}}", "1\n22222\n"],
    [
      "jsonl",
      '{"ID":"1","Name":"one","CreatedAt":"now"}\n{"ID":"22222","Name":"二","CreatedAt":"then"}\n',
    ],
    ["{{json .ID}}", '"1"\n"22222"\n'],
  ];
  for (const [format, text] of rows) {
    it(`prints ${format ?? "the default table"}`, () => {
      assert.equal(formatListing(listing, format), text);
    });
  }
  it("prints json as one array", () => {
    assert.deepEqual(JSON.parse(formatListing(listing, "json")), listing.rows);
  });
  it("prints headers alone when there is nothing to list", () => {
    assert.equal(formatListing({ ...listing, rows: [] }, undefined), "ID   NAME\n");
  });
});

describe("tables and units", () => {
  it("widthOf() counts columns of a terminal", () => {
    assert.equal(widthOf("abc"), 3);
    assert.equal(widthOf("日本"), 4);
    assert.equal(widthOf("e\u0301"), 1);
    assert.equal(widthOf("🐳"), 2);
  });
  it("formatTable() leaves no spaces at line ends", () => {
    assert.equal(formatTable(["A", "B"], [["1", ""]]), "A   B\n1\n");
  });
  const sizes: readonly (readonly [number, string])[] = [
    [0, "0B"],
    [999, "999B"],
    [1000, "1kB"],
    [1234567, "1.23MB"],
    [77_800_000, "77.8MB"],
    [999_999, "1000kB"],
    [2_000_000_000, "2GB"],
  ];
  for (const [bytes, text] of sizes) {
    it(`formatSize(${bytes}) is ${text}`, () => assert.equal(formatSize(bytes), text));
  }
  const spans: readonly (readonly [number, string])[] = [
    [0, "Less than a second"],
    [1, "1 second"],
    [59, "59 seconds"],
    [60, "About a minute"],
    [150, "2 minutes"],
    [3600, "About an hour"],
    [7300, "2 hours"],
    [3 * 86400, "3 days"],
    [15 * 86400, "2 weeks"],
    [70 * 86400, "2 months"],
    [800 * 86400, "2 years"],
  ];
  for (const [seconds, text] of spans) {
    it(`formatSpan() says ${text}`, () => assert.equal(formatSpan(seconds * 1000), text));
  }
  it("shows ages, durations and short IDs", () => {
    assert.equal(formatAge(undefined, new Date()), "N/A");
    assert.equal(formatAge(new Date(0), new Date(5000)), "5 seconds ago");
    assert.deepEqual([0.5, 12, 80, 7500].map(formatDuration), ["0.5s", "12s", "1m20s", "2h05m"]);
    assert.equal(shortId(`sha256:${"ab".repeat(32)}`), "abababababab");
  });
});

describe("colour", () => {
  // biome-ignore format: table
  const rows: readonly (readonly [Record<string, string>, boolean, boolean])[] = [
    [{}, true, true],
    [{}, false, false],
    [{ NO_COLOR: "1" }, true, false],
    [{ NO_COLOR: "" }, true, true],
    [{ NO_COLOR: "1", FORCE_COLOR: "1" }, true, false],
    [{ FORCE_COLOR: "1" }, false, true],
    [{ FORCE_COLOR: "0" }, true, false],
    [{ CLICOLOR_FORCE: "1" }, false, true],
    [{ CLICOLOR: "0" }, true, false],
    [{ TERM: "dumb" }, true, false],
  ];
  for (const [env, terminal, expected] of rows) {
    it(`${JSON.stringify(env)} on a ${terminal ? "terminal" : "pipe"}: ${expected}`, () => {
      assert.equal(wantsColour(env, terminal), expected);
    });
  }
});

describe("progress", () => {
  const item = (fields: Partial<Item>): Item => ({
    id: "0123456789ab",
    phase: "downloading",
    startedAt: 0,
    startBytes: 0,
    ...fields,
  });
  const screen = { columns: 80, rows: 24, colour: false };

  it("draws a bar with rate and remaining time", () => {
    const [line] = drawItems([item({ currentBytes: 5e6, totalBytes: 1e7 })], 2000, screen);
    assert.match(line ?? "", /^0123456789ab: Downloading {4}\[.*\] 5MB\/10MB 2\.5MB\/s 2\.0s$/);
    const bar = /\[(=*)>( *)\]/.exec(line ?? "");
    assert.ok(bar, line);
    assert.ok(Math.abs((bar[1]?.length ?? 0) + 1 - (bar[2]?.length ?? 0)) <= 1, "half full");
  });
  it("counts the rate of a resumed download from where it began", () => {
    const resumed = item({ currentBytes: 6e6, totalBytes: 1e7, startBytes: 5e6 });
    assert.match(drawItems([resumed], 1000, screen)[0] ?? "", / 1MB\/s 4\.0s$/);
  });
  it("never draws wider or higher than the screen", () => {
    const items = Array.from({ length: 100 }, (_, index) =>
      item({
        id: `layer${index}`,
        currentBytes: 1,
        totalBytes: 2,
        phase: index < 50 ? "done" : "downloading",
      }),
    );
    for (const columns of [10, 20, 40, 200]) {
      const lines = drawItems(items, 1000, { columns, rows: 10, colour: false });
      assert.ok(lines.length < 10);
      for (const line of lines) assert.ok(line.length < columns, line);
    }
    assert.match(drawItems(items, 1000, screen).at(-1) ?? "", /… and 79 more \(50 complete\)/);
  });

  function record(style: "tty" | "plain" | "json" | "none") {
    const written: string[] = [];
    let now = 0;
    const progress = showProgress(style, {
      write: (text) => written.push(text),
      columns: () => 80,
      rows: () => 24,
      colour: false,
      now: () => now,
    });
    return { progress, written, wait: (ms: number) => (now += ms) };
  }

  it("plain says when a phase begins, and no more than every 5 seconds between", () => {
    const { progress, written, wait } = record("plain");
    for (let second = 0; second <= 12; second++) {
      progress.onProgress({
        type: "item",
        id: "a",
        phase: "downloading",
        currentBytes: second * 1e6,
        totalBytes: 2e7,
      });
      wait(1000);
    }
    progress.onProgress({ type: "item", id: "a", phase: "done" });
    progress.onProgress({ type: "status", text: "Done" });
    assert.deepEqual(written, [
      "a: Downloading (20MB)\n",
      "5MB of 20MB\n",
      "10MB of 20MB\n",
      "a: Complete\n",
      "Done\n",
    ]);
  });
  it("tty draws at most 10 frames a second, and the last state when it ends", () => {
    const { progress, written, wait } = record("tty");
    for (let tick = 0; tick < 1000; tick++) {
      progress.onProgress({
        type: "item",
        id: "a",
        phase: "downloading",
        currentBytes: tick,
        totalBytes: 1000,
      });
      wait(1);
    }
    assert.ok(written.length <= 11, `${written.length} frames`);
    progress.onProgress({ type: "item", id: "a", phase: "done" });
    progress[Symbol.dispose]();
    assert.match(written.at(-1) ?? "", /^\u001b\[1Aa: Complete\u001b\[K\n\u001b\[J$/);
  });
  it("tty puts sentences above the bars", () => {
    const { progress, written } = record("tty");
    progress.onProgress({ type: "item", id: "a", phase: "waiting" });
    progress.onProgress({ type: "warning", text: "slow" });
    progress[Symbol.dispose]();
    assert.equal(written.join("").includes("\u001b[1A\u001b[Jwarning: slow\n"), true);
  });
  it("touches the terminal no more once it is disposed, however often: it is the container's", () => {
    const { progress, written, wait } = record("tty");
    progress.onProgress({ type: "item", id: "a", phase: "done" });
    progress[Symbol.dispose]();
    const before = written.length;
    wait(1000);
    progress[Symbol.dispose]();
    assert.deepEqual(written.slice(before), []);
  });

  it("tty leaves finished bars above what follows, and never draws over it", () => {
    const { progress, written } = record("tty");
    progress.onProgress({ type: "item", id: "a", phase: "done" });
    progress.onProgress({ type: "status", text: "Digest: x" });
    progress.onProgress({ type: "status", text: "Status: y" });
    progress[Symbol.dispose]();
    assert.equal(written.at(-2), "Digest: x\n");
    assert.equal(written.at(-1), "Status: y\n");
  });
  it("json writes one event a line", () => {
    const { progress, written } = record("json");
    progress.onProgress({ type: "status", text: "x" });
    assert.deepEqual(written, ['{"type":"status","text":"x"}\n']);
  });
  it("none still warns", () => {
    const { progress, written } = record("none");
    progress.onProgress({ type: "status", text: "x" });
    progress.onProgress({ type: "warning", text: "y" });
    assert.deepEqual(written, ["manyworlds: warning: y\n"]);
  });
  it("chooseStyle() draws bars only on a terminal that can move its cursor", () => {
    assert.equal(chooseStyle("auto", true, {}), "tty");
    assert.equal(chooseStyle(undefined, true, { TERM: "dumb" }), "plain");
    assert.equal(chooseStyle("auto", false, {}), "plain");
    assert.equal(chooseStyle("json", true, {}), "json");
  });
});
