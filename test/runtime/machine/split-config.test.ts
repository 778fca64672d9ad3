import assert from "node:assert/strict";
import type { RuntimeConfig } from "../../../oci/index.ts";
import {
  hostResources,
  MACHINE_MEMORY_BYTES,
  splitConfig,
} from "../../../runtime/machine/split-config.ts";
import { chooseHalf } from "../../../runtime/machine/verbs.ts";
import { type IsolationWish, wantsMachine } from "../../../runtime/machine/wish.ts";
import { exampleConfig } from "../../../runtime/verbs/spec.ts";

const keeper = { args: ["/usr/bin/manyworlds", "vm-keeper", "/run/x", "one"], env: ["A=b"] };
const undecided: IsolationWish = { isolation: undefined, cpu: "auto" };
const base = exampleConfig();
const namespaces = base.linux?.namespaces ?? [];
const pod = { "io.kubernetes.cri.container-type": "container" };

function withLinux(linux: Partial<NonNullable<RuntimeConfig["linux"]>>): RuntimeConfig {
  return { ...base, linux: { ...base.linux, ...linux } };
}

describe("runtime/machine: a container's two halves", () => {
  it("the host's has the cgroup, the network, the hooks and the terminal, and no mount", () => {
    const poststop = [{ path: "/bin/true" }];
    const config: RuntimeConfig = {
      ...withLinux({
        cgroupsPath: "/a/b",
        namespaces: [
          ...namespaces.filter(({ type }) => type !== "network"),
          { type: "network", path: "/n" },
        ],
      }),
      hooks: { poststop },
      annotations: { a: "b" },
    };
    const { host } = splitConfig(config, keeper);
    assert.deepEqual(host.linux?.namespaces, [{ type: "network", path: "/n" }]);
    assert.equal(host.linux?.cgroupsPath, "/a/b");
    assert.deepEqual(host.hooks, { poststop });
    assert.deepEqual(host.annotations, { a: "b" });
    assert.equal(host.mounts, undefined);
    assert.deepEqual(host.process?.args, keeper.args);
    assert.deepEqual(host.process?.env, keeper.env);
    assert.equal(host.process?.terminal, base.process?.terminal);
    assert.equal(host.linux?.seccomp, undefined);
  });

  it("the guest's has everything else, in namespaces of its own", () => {
    const { guest } = splitConfig(base, keeper);
    assert.deepEqual(guest.linux?.namespaces?.map(({ type }) => type).sort(), [
      "cgroup",
      "ipc",
      "mount",
      "pid",
      "uts",
    ]);
    assert.deepEqual(guest.process?.args, base.process?.args);
    assert.deepEqual(guest.process?.capabilities, base.process?.capabilities);
    assert.deepEqual(guest.linux?.maskedPaths, base.linux?.maskedPaths);
    assert.deepEqual(guest.linux?.resources?.devices, base.linux?.resources?.devices);
  });

  it("labels of the host's security modules do not travel into the guest", () => {
    const process = {
      ...base.process,
      cwd: "/",
      apparmorProfile: "docker-default",
      selinuxLabel: "x",
    };
    const { guest } = splitConfig({ ...base, process }, keeper);
    assert.equal(guest.process?.apparmorProfile, undefined);
    assert.equal(guest.process?.selinuxLabel, undefined);
  });

  it("a pod's container has the pod's name, which it gets as HOSTNAME", () => {
    const { hostname: _, ...nameless } = base;
    const process = { ...base.process, cwd: "/", env: ["PATH=/bin", "HOSTNAME=pod-1"] };
    const shared = namespaces.map((namespace) =>
      namespace.type === "uts" || namespace.type === "ipc"
        ? { ...namespace, path: `/proc/1/ns/${namespace.type}` }
        : namespace,
    );
    const config = {
      ...nameless,
      process,
      annotations: pod,
      linux: { ...base.linux, namespaces: shared },
    };
    assert.equal(splitConfig(config, keeper).guest.hostname, "pod-1");
  });

  it("memory on the host is the container's and the machine's", () => {
    const { memory, pids, devices } = hostResources({
      memory: { limit: 100, swap: -1 },
      pids: { limit: 5 },
      devices: [{ allow: false }],
    });
    assert.deepEqual(memory, { limit: 100 + MACHINE_MEMORY_BYTES, swap: -1 });
    assert.equal(pids, undefined);
    assert.equal(devices, undefined);
  });

  it("a privileged container has the guest's devices of those that its engine lists", () => {
    const devices = [
      { type: "c", path: "/dev/kvm", major: 10, minor: 232 },
      { type: "c", path: "/dev/kmsg", major: 1, minor: 11 },
    ] as const;
    const resources = { devices: [{ allow: true, access: "rwm" }] };
    const { guest } = splitConfig(withLinux({ devices, resources }), keeper);
    assert.deepEqual(
      guest.linux?.devices?.map(({ path }) => path),
      ["/dev/kmsg"],
    );
  });

  const without = (...types: readonly string[]) =>
    withLinux({ namespaces: namespaces.filter(({ type }) => !types.includes(type)) });
  const joining = (type: string) =>
    withLinux({
      namespaces: namespaces.map((one) =>
        one.type === type ? { ...one, path: "/proc/1/ns/x" } : one,
      ),
    });
  // biome-ignore format: table
  const refused: readonly (readonly [why: string, config: RuntimeConfig, problem: RegExp])[] = [
    ["the host's network", without("network"), /has no network namespace: a machine shares none with the host/],
    ["the host's processes", without("pid"), /has no pid namespace/],
    ["another container's processes", joining("pid"), /joins another container's pid namespace/],
    ["another container's IPC outside of a pod", joining("ipc"), /joins another container's ipc namespace/],
    ["a user namespace", withLinux({ namespaces: [...namespaces, { type: "user" }] }), /has a user namespace/],
    ["a device of the host", withLinux({ devices: [{ type: "c", path: "/dev/kvm", major: 10, minor: 232 }] }), /has "\/dev\/kvm"/],
    ["a hook in the container", { ...base, hooks: { startContainer: [{ path: "/x" }] } }, /hooks.startContainer/],
    ["a seccomp agent", withLinux({ seccomp: { defaultAction: "SCMP_ACT_ALLOW", listenerPath: "/s" } }), /names an agent/],
    ["a mapped mount", { ...base, mounts: [{ destination: "/x", type: "bind", source: "/x", options: ["idmap"] }] }, /maps IDs/],
  ];
  for (const [why, config, problem] of refused)
    it(`refuses ${why}`, () => assert.throws(() => splitConfig(config, keeper), problem));
});

describe("runtime/machine: who wants one", () => {
  const annotated = (value: string) => ({
    ...base,
    annotations: { "dev.manyworlds.isolation": value },
  });

  it("the command line, or an annotation", () => {
    assert.equal(wantsMachine(base, undecided), undefined);
    assert.deepEqual(wantsMachine(base, { ...undecided, isolation: "vm" }), { cpu: "auto" });
    assert.deepEqual(wantsMachine(annotated("vm"), undecided), { cpu: "auto" });
    assert.equal(wantsMachine(annotated("container"), undecided), undefined);
  });

  it("an annotation never weakens what the command line says", () => {
    const wish = { ...undecided, isolation: "vm" } as const;
    assert.throws(() => wantsMachine(annotated("container"), wish), /told to use --isolation=vm/);
    assert.throws(() => wantsMachine(annotated("none"), undecided), /expected "vm" or "container"/);
  });

  it("a pod's own container needs none", () => {
    for (const name of ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"]) {
      const config = { ...base, annotations: { [name]: "sandbox" } };
      assert.equal(wantsMachine(config, { ...undecided, isolation: "vm" }), undefined);
    }
  });

  it("descriptors cannot be passed to one, and its command is looked for", () => {
    const bundle = { path: "/", config: { ...base, root: { path: "/" } } };
    const context = {
      id: "one",
      stateRoot: "/run/x",
      env: {},
      isolation: { ...undecided, isolation: "vm" } as const,
      self: ["/usr/bin/manyworlds"],
    };
    assert.throws(
      () => chooseHalf(bundle, { ...context, preserveFds: 2 }),
      /Cannot pass descriptors/,
    );
    assert.ok(chooseHalf(bundle, { ...context, preserveFds: 0 }).machine);
  });
});
