/** What people ask about images: lists, details, history, names. */
import type { Image, ImageRecord } from "../image/index.ts";
import { familiarName, parseReference, parseRepositoryReference } from "../oci/index.ts";
import type { Places } from "./places.ts";

/** One line of `images`: an image under one of its names, or under none. */
export interface ImageLine {
  readonly id: string;
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
  readonly created: Date | undefined;
  readonly sizeBytes: number;
  readonly labels: Readonly<Record<string, string>>;
}

const NONE = "<none>";

export function listImages(places: Places): ImageLine[] {
  const { images } = places.store;
  return images.list().flatMap((image) => {
    const { record } = image;
    const line = {
      id: image.id,
      created: dateOf(record.created),
      sizeBytes: sizeOf(places, record),
      labels: images.config(record).config?.Labels ?? {},
    };
    return namesOf(image).map((name) => ({ ...line, ...name }));
  });
}

/** Tags with the digest of their repository; a digest alone when no tag has its repository. */
function namesOf(image: Image): { repository: string; tag: string; digest: string }[] {
  const digests = new Map(
    image.digests.map((text) => {
      const reference = parseReference(text);
      return [familiarName(reference), reference.digest ?? NONE] as const;
    }),
  );
  const tagged = image.tags.map((text) => {
    const reference = parseReference(text);
    const repository = familiarName(reference);
    return { repository, tag: reference.tag ?? NONE, digest: digests.get(repository) ?? NONE };
  });
  const seen = new Set(tagged.map(({ repository }) => repository));
  const untagged = [...digests]
    .filter(([repository]) => !seen.has(repository))
    .map(([repository, digest]) => ({ repository, tag: NONE, digest }));
  const all = [...tagged, ...untagged];
  return all.length > 0 ? all : [{ repository: NONE, tag: NONE, digest: NONE }];
}

/** Unpacked size where it is known, as docker shows it; else what was downloaded. */
export function sizeOf({ store }: Places, record: ImageRecord): number {
  const unpacked = record.chain.map((chainId) => store.snapshots.layer(chainId)?.expandedBytes);
  return record.layers.reduce((sum, layer, index) => sum + (unpacked[index] ?? layer.size), 0);
}

function dateOf(text: string | undefined): Date | undefined {
  const date = text === undefined ? undefined : new Date(text);
  return date === undefined || Number.isNaN(date.getTime()) ? undefined : date;
}

/** docker's inspect of an image, with the fields that mean something here. */
export function inspectImage(places: Places, name: string): Record<string, unknown> {
  const image = places.store.images.get(name);
  const { record } = image;
  const config = places.store.images.config(record);
  return {
    Id: image.id,
    RepoTags: image.tags,
    RepoDigests: image.digests,
    Parent: "",
    Comment: config.history?.at(-1)?.comment ?? "",
    Created: config.created ?? "",
    Author: config.author ?? "",
    Config: config.config ?? {},
    Architecture: config.architecture,
    ...(config.variant !== undefined && { Variant: config.variant }),
    Os: config.os,
    Size: sizeOf(places, record),
    RootFS: { Type: config.rootfs.type, Layers: config.rootfs.diff_ids },
    Metadata: { LastTagTime: record.added },
    Descriptor: record.manifest,
    Layers: record.layers,
  };
}

export interface HistoryLine {
  readonly id: string;
  readonly created: Date | undefined;
  readonly createdBy: string;
  readonly sizeBytes: number;
  readonly comment: string;
}

/** Newest step first, as docker's; only the top step is an image of its own. */
export function historyOf(places: Places, name: string): HistoryLine[] {
  const image = places.store.images.get(name);
  const { record } = image;
  const config = places.store.images.config(record);
  const steps = config.history ?? record.layers.map(() => ({ created_by: "" }));
  let layer = 0;
  const lines = steps.map((step) => {
    const empty = "empty_layer" in step && step.empty_layer === true;
    const index = empty ? -1 : layer++;
    const chainId = record.chain[index];
    const unpacked = chainId && places.store.snapshots.layer(chainId)?.expandedBytes;
    return {
      id: "<missing>",
      created: "created" in step ? dateOf(step.created) : undefined,
      createdBy: step.created_by ?? "",
      sizeBytes: unpacked ?? record.layers[index]?.size ?? 0,
      comment: "comment" in step ? (step.comment ?? "") : "",
    };
  });
  return lines.reverse().map((line, index) => (index === 0 ? { ...line, id: image.id } : line));
}

export function tagImage({ store }: Places, source: string, target: string): void {
  const image = store.images.get(source);
  store.images.tag(image, parseReference(target));
}

/** Names of images that begin with `prefix`, for completion. */
export function imageNames({ store }: Places, prefix: string): string[] {
  const names = store.images.list().flatMap((image) => image.tags);
  return names.filter((name) => name.startsWith(prefix));
}

/** Whether a line belongs to what the user wrote after `images`: a repository, or name and tag. */
export function matchesName(line: ImageLine, wanted: string): boolean {
  const { tag, ...reference } = parseRepositoryReference(wanted);
  if (familiarName(reference) !== line.repository) return false;
  return tag === undefined || tag === line.tag;
}
