import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { measuredRungs, toHtml } from "../../compare/index.ts";
import { sampleComparison } from "./sample-comparison.ts";

const CHROMIUM = "/usr/bin/chromium";
const PHONE = { width: 360, height: 740 };
const DESK = { width: 1280, height: 900 };

/** What it does without asking would reach for Google's hosts. */
const quietFlags = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];

describe("compare --html in Chromium", () => {
  let browser: Browser | undefined;
  let folder: string;
  let url: string;
  before(async function () {
    if (!existsSync(CHROMIUM)) {
      console.log("      skipped: chromium is not installed (apt-get install chromium)");
      this.skip();
    }
    folder = mkdtempSync(join(tmpdir(), "manyworlds-page-"));
    writeFileSync(join(folder, "page.html"), toHtml(sampleComparison()));
    url = `file://${folder}/page.html`;
    const { chromium } = await import("playwright-core");
    browser = await chromium.launch({ executablePath: CHROMIUM, args: quietFlags });
  });
  after(async () => {
    await browser?.close();
    if (folder !== undefined) rmSync(folder, { recursive: true });
  });

  async function open(options: Parameters<Browser["newPage"]>[0] = {}): Promise<Page> {
    assert.ok(browser !== undefined);
    const page = await browser.newPage({ viewport: DESK, ...options });
    return page;
  }

  it("loads without an error, and nothing but itself", async () => {
    const page = await open();
    const requests: string[] = [];
    const errors: string[] = [];
    page.on("request", (request) => requests.push(request.url()));
    page.on("console", (message) => errors.push(message.text()));
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.goto(url);
    assert.deepEqual(requests, [url]);
    assert.deepEqual(errors, []);
    await page.close();
  });

  for (const [name, viewport] of [["a phone", PHONE] as const, ["a desk", DESK] as const])
    it(`needs no scrolling to the side on ${name}, and hides no text of a plot`, async () => {
      const page = await open({ viewport });
      await page.goto(url);
      const { scrollWidth, clipped } = (await page.evaluate(`({
        scrollWidth: document.documentElement.scrollWidth,
        clipped: [...document.querySelectorAll(".row .value, .row .name, .tick")]
          .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
          .map((each) => each.textContent),
      })`)) as { scrollWidth: number; clipped: string[] };
      assert.equal(scrollWidth, viewport.width);
      assert.deepEqual(clipped, []);
      await page.close();
    });

  it("shows every table whole at a desk", async () => {
    const page = await open();
    await page.goto(url);
    const cut =
      await page.evaluate(`[...document.querySelectorAll(".scroll:not(details.raw .scroll)")]
      .filter((each) => each.scrollWidth > each.clientWidth)
      .map((each) => each.textContent.slice(0, 40))`);
    assert.deepEqual(cut, []);
    await page.close();
  });

  it("keeps the words of an axis apart", async () => {
    for (const viewport of [PHONE, DESK]) {
      const page = await open({ viewport });
      await page.goto(url);
      const overlaps =
        await page.evaluate(`[...document.querySelectorAll(".axis svg")].flatMap((axis) => {
        const boxes = [...axis.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
        return boxes.slice(1).filter(([, box], index) => box.width > 0 && box.left < boxes[index][1].right).map(([text]) => text);
      })`);
      assert.deepEqual(overlaps, [], `${viewport.width}`);
      await page.close();
    }
  });

  it("shows every measured world in every plot of starts, slower ones further right", async () => {
    const page = await open();
    await page.goto(url);
    const plot = page.locator(".plot").first();
    const names = await plot.locator(".row:not(.axis) .name").allTextContents();
    assert.deepEqual(
      names,
      measuredRungs(sampleComparison()).map(({ name }) => name),
    );
    const left = async (name: string): Promise<number> => {
      const row = plot.locator(".row", { hasText: name }).first();
      return (await row.locator(".median").boundingBox())?.x ?? Number.NaN;
    };
    assert.ok((await left("process")) < (await left("container")));
    assert.ok((await left("container")) < (await left("vm-software")));
    await page.close();
  });

  it("is dark where dark is wanted, and readable in both", async () => {
    const shades: number[] = [];
    for (const colorScheme of ["light", "dark"] as const) {
      const page = await open({ colorScheme });
      await page.goto(url);
      const [paper, ink, soft] = (await page.evaluate(`(() => {
        const look = getComputedStyle(document.body);
        return [look.backgroundColor, look.color, getComputedStyle(document.querySelector("main .soft")).color];
      })()`)) as [string, string, string];
      shades.push(luminance(paper));
      assert.ok(contrast(paper, ink) >= 7, `${colorScheme}: ${paper} ${ink}`);
      assert.ok(contrast(paper, soft) >= 4.5, `${colorScheme}: ${paper} ${soft}`);
      await page.close();
    }
    assert.ok((shades[0] ?? 0) > 0.8 && (shades[1] ?? 1) < 0.05);
  });

  it("prints on paper, without the raw samples", async () => {
    const page = await open();
    await page.goto(url);
    const pdf = await page.pdf({ format: "A4" });
    const pages = pdf.toString("latin1").match(/\/Type \/Page\b/g)?.length ?? 0;
    assert.ok(pages >= 2 && pages <= 12, `${pages} pages`);
    await page.emulateMedia({ media: "print" });
    assert.equal(await page.locator("details.raw").isVisible(), false);
    await page.close();
  });

  it("gives its samples back, whatever names and commands contain", async () => {
    const page = await open();
    await page.goto(url);
    const text = await page.locator("#samples").textContent();
    assert.deepEqual(JSON.parse(text ?? ""), JSON.parse(JSON.stringify(sampleComparison())));
    assert.match(
      (await page.locator("header p").first().textContent()) ?? "",
      /echo <\/script><b>/,
    );
    await page.close();
  });
});

describe("toHtml()", () => {
  it("shows what there is of a comparison that was interrupted at once", () => {
    const empty = sampleComparison({ interrupted: true, rungs: [] });
    const text = toHtml(empty);
    assert.match(text, /It was interrupted/);
    assert.ok(text.endsWith("</html>\n"));
  });
});

/** WCAG 2.2, "relative luminance" and "contrast ratio". */
function luminance(color: string): number {
  const [r = 0, g = 0, b = 0] = (color.match(/[\d.]+/g) ?? []).map(Number).map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one: string, other: string): number {
  const [dark = 0, light = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}
