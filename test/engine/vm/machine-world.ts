/** What suites of machines begin and end with. */
import { World, whyNot } from "../../cli/end-to-end/world.ts";
import { whyNoMachine } from "./guest-kernel.ts";

/** Skips the suite, saying why, where something is missing; otherwise `get` has the world in its tests. */
export function useMachineWorld({
  otherReason = () => undefined,
}: {
  readonly otherReason?: () => string | undefined;
} = {}): { get: () => World } {
  let world: World | undefined;
  before("make a place with a registry and an image", async function () {
    skipFor(this, whyNot() ?? whyNoMachine() ?? otherReason());
    world = await World.make();
  });
  after("remove it", async () => world?.[Symbol.asyncDispose]());
  return {
    get() {
      if (world === undefined) throw new Error("The suite has not begun");
      return world;
    },
  };
}

/** A suite that cannot run says why and counts as skipped. */
export function skipFor(suite: Mocha.Context, reason: string | undefined): void {
  if (reason === undefined) return;
  console.log(`      skipped: ${reason}`);
  suite.skip();
}
