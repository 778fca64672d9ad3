/** What `run` would do, without doing it. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { RuntimeConfig } from "../oci/index.ts";
import { explainLaunch, formatLaunch, type LaunchPlan, readBundle } from "../runtime/index.ts";
import { ContainerError } from "./errors.ts";
import type { ContainerOptions } from "./options.ts";
import { openPlaces } from "./places.ts";
import { discard, prepareContainer } from "./prepare.ts";
import { type ResolveOptions, resolveImage } from "./resolve-image.ts";

export interface Explanation {
  /** The OCI configuration. */
  readonly config: RuntimeConfig;
  /** The syscall program: one call a line. */
  readonly text: string;
  /** The same as data. */
  readonly program: LaunchPlan["program"];
}

export interface ExplainRequest extends ResolveOptions {
  readonly image: string;
  readonly container: ContainerOptions;
  readonly root?: string | undefined;
}

/** The container's directory is made, for the plan names it, and is gone when this returns. */
export async function explainImage(request: ExplainRequest): Promise<Explanation> {
  const places = openPlaces(request.root);
  using _store = places.store;
  const image = await resolveImage(places, request.image, request);
  const config = places.store.images.config(image);
  const prepared = prepareContainer(places, image, config, request.container, {
    name: undefined,
    autoRemove: true,
    imageName: request.image,
    explains: true,
  });
  const { record, snapshot, view, lock } = prepared;
  try {
    const rootMount = { rows: snapshot.mount.rows(), resolve: (path: string) => view.locate(path) };
    return explain(prepared.config, record.id, snapshot.directory, rootMount);
  } finally {
    view[Symbol.dispose]();
    discard(places, record, lock);
  }
}

/** An OCI bundle: a directory with config.json and a root file system. */
export function explainBundle(bundle: string): Explanation {
  const { path, config } = readBundle(bundle);
  const rootfs = resolve(path, config.root?.path ?? "rootfs");
  if (!existsSync(rootfs)) {
    throw new ContainerError(`Cannot explain "${bundle}": its root file system is missing`, {
      hint: `config.json names "${rootfs}"`,
    });
  }
  return explain(config, "explained", path, undefined);
}

function explain(
  config: RuntimeConfig,
  id: string,
  bundle: string,
  rootMount: Parameters<typeof explainLaunch>[1]["rootMount"],
): Explanation {
  const plan = explainLaunch(config, {
    id,
    bundle,
    ...(rootMount !== undefined && { rootMount }),
  });
  return { config, text: formatLaunch(plan), program: plan.program };
}
