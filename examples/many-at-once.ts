/**
 * Pulls once, then starts many containers at the same time; each is gone when its scope ends.
 *
 *   node --import tsx examples/many-at-once.ts [IMAGE] [COUNT]
 */
import { pull, run } from "../index.ts";

const [image = "busybox", count = "5"] = process.argv.slice(2);

const { reference, digest } = await pull(image);
console.log(`${reference} is ${digest}`);

const greetings = Array.from({ length: Number(count) }, async (_, index) => {
  await using container = await run({
    image,
    command: ["sh", "-c", "echo world $WORLD says hello"],
    env: [`WORLD=${index + 1}`],
  });
  return (await new Response(container.stdout).text()).trim();
});
for (const line of await Promise.all(greetings)) console.log(line);
