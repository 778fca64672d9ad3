import { missing, runLinux } from "./run-linux.ts";

describe("Linux on the software CPU", function () {
  this.timeout(120_000);
  for (const [tier, threshold] of [
    ["both tiers", 200],
    ["the interpreter alone", 2 ** 30],
  ] as const)
    it(`boots to a shell and powers off on ${tier}`, async function () {
      if (missing.length > 0) {
        console.log(`      needs ${missing.join(" and ")} (npm run guest:kernel; busybox-static)`);
        this.skip();
      }
      await runLinux({ hotThreshold: threshold });
    });
});
