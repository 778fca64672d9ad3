/**
 * From a control-flow graph to WebAssembly's blocks and loops, by dominators: N. Ramsey, "Beyond
 * Relooper" (ICFP 2022). A node is emitted inside its immediate dominator; nodes with several
 * forward predecessors end a `block` that those predecessors break out of; a target of a backward
 * edge opens a `loop`.
 *
 * Only reducible graphs have such a form. Edges into the middle of a loop are cut until the rest is
 * reducible; whoever emits a node leaves the function there instead.
 */
import { block, br, type Label, loop } from "../wasm/assembler.ts";

export type Graph = {
  readonly entry: number;
  /** Successors inside the graph. */
  readonly successors: (node: number) => readonly number[];
};

export type Structured = {
  /** Emits the branch to `target`: breaks, or its code in place. */
  readonly branch: (from: number, target: number) => void;
  readonly isBackward: (from: number, target: number) => boolean;
  /** Whether the edge is still in the graph: cut ones must not be branched along. */
  readonly has: (from: number, target: number) => boolean;
};

/** Reverse postorder numbers; entry is 0. */
function number(graph: Graph): Map<number, number> {
  const done: number[] = [];
  const seen = new Set<number>([graph.entry]);
  const stack: { node: number; next: number }[] = [{ node: graph.entry, next: 0 }];
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    const successor = graph.successors(top.node)[top.next++];
    if (successor === undefined) {
      done.push(top.node);
      stack.pop();
    } else if (!seen.has(successor)) {
      seen.add(successor);
      stack.push({ node: successor, next: 0 });
    }
  }
  return new Map(done.reverse().map((node, i) => [node, i]));
}

/** Immediate dominators: Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm". */
function dominators(
  order: ReadonlyMap<number, number>,
  predecessors: ReadonlyMap<number, readonly number[]>,
  entry: number,
): Map<number, number> {
  const immediate = new Map<number, number>([[entry, entry]]);
  const rank = (node: number): number => order.get(node) ?? 0;
  const meet = (first: number, second: number): number => {
    let [a, b] = [first, second];
    while (a !== b) {
      while (rank(a) > rank(b)) a = immediate.get(a) as number;
      while (rank(b) > rank(a)) b = immediate.get(b) as number;
    }
    return a;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of order.keys()) {
      if (node === entry) continue;
      const known = (predecessors.get(node) ?? []).filter((p) => immediate.has(p));
      const best = known.reduce(meet);
      if (immediate.get(node) !== best) {
        immediate.set(node, best);
        changed = true;
      }
    }
  }
  return immediate;
}

/** What is known of a graph without the edges in `cut`. */
type Analysis = {
  readonly order: ReadonlyMap<number, number>;
  readonly immediate: ReadonlyMap<number, number>;
  /** Targets of backward edges. */
  readonly headers: ReadonlySet<number>;
  /** How many forward edges lead to a node. */
  readonly forward: ReadonlyMap<number, number>;
  /** Edges into the middle of a loop. */
  readonly irreducible: readonly string[];
};

const edge = (from: number, target: number): string => `${from}>${target}`;

function analyse(graph: Graph): Analysis {
  const order = number(graph);
  const rank = (node: number): number => order.get(node) as number;
  const predecessors = new Map<number, number[]>();
  for (const node of order.keys())
    for (const successor of graph.successors(node)) {
      const list = predecessors.get(successor);
      if (list) list.push(node);
      else predecessors.set(successor, [node]);
    }
  const immediate = dominators(order, predecessors, graph.entry);
  const dominates = (a: number, b: number): boolean => {
    let at = b;
    while (rank(at) > rank(a)) at = immediate.get(at) as number;
    return at === a;
  };
  const headers = new Set<number>();
  const forward = new Map<number, number>();
  const irreducible: string[] = [];
  for (const [node, list] of predecessors)
    for (const from of list)
      if (rank(from) < rank(node)) forward.set(node, (forward.get(node) ?? 0) + 1);
      else if (dominates(node, from)) headers.add(node);
      else irreducible.push(edge(from, node));
  return { order, immediate, headers, forward, irreducible };
}

/**
 * Emits the graph; `emitNode` emits one node's code and calls `branch` for each way out of it that
 * stays inside. Returns how many edges were cut.
 */
export function emitStructured(
  whole: Graph,
  emitNode: (node: number, structured: Structured) => void,
): number {
  const cut = new Set<string>();
  const has = (from: number, target: number): boolean => !cut.has(edge(from, target));
  const graph: Graph = {
    entry: whole.entry,
    successors: (node) =>
      cut.size === 0
        ? whole.successors(node)
        : whole.successors(node).filter((to) => has(node, to)),
  };
  let analysis = analyse(graph);
  for (; analysis.irreducible.length > 0; analysis = analyse(graph))
    for (const found of analysis.irreducible) cut.add(found);
  const { order, immediate, headers, forward } = analysis;
  const rank = (node: number): number => order.get(node) as number;
  const children = new Map<number, number[]>();
  for (const [node, parent] of immediate)
    if (node !== graph.entry) children.set(parent, [...(children.get(parent) ?? []), node]);

  const labels = new Map<number, Label>();
  const isMerge = (node: number): boolean => (forward.get(node) ?? 0) > 1;
  const isBackward = (from: number, target: number): boolean => rank(from) >= rank(target);
  const branch = (from: number, target: number): void => {
    const label = labels.get(target);
    if (isBackward(from, target) || isMerge(target)) br(label as Label);
    else tree(target);
  };
  const tree = (node: number): void => {
    const merges = (children.get(node) ?? []).filter(isMerge).sort((a, b) => rank(b) - rank(a));
    if (!headers.has(node)) {
      within(node, merges, 0);
      return;
    }
    loop((again) => {
      labels.set(node, again);
      within(node, merges, 0);
    });
  };
  const within = (node: number, merges: readonly number[], index: number): void => {
    const merge = merges[index];
    if (merge === undefined) {
      emitNode(node, { branch, isBackward, has });
      return;
    }
    block((exit) => {
      // A merge node that is also a loop header is entered forwards through this block's end.
      const outer = labels.get(merge);
      labels.set(merge, exit);
      within(node, merges, index + 1);
      if (outer) labels.set(merge, outer);
    });
    tree(merge);
  };
  tree(graph.entry);
  return cut.size;
}
