/**
 * Docker Swarm with the runtime as the daemon's default, because `docker service` has no --runtime:
 * a service of several replicas runs, is scaled and is updated.
 */
import type { EngineRow } from "./row.ts";

const swarm = ["swarm"] as const;
const replicas = (count: number, image = "") =>
  `wait_for 30 sh -c "docker -H $SOCKET service ps -q --filter desired-state=running svc${image} | xargs -r docker -H $SOCKET inspect -f '{{.Status.State}}' | grep -c running | grep -qx ${count}"`;

// biome-ignore format: table
export const swarmRows: readonly EngineRow[] = [
  { id: "swarm-service", engines: swarm, claim: "a service of three replicas runs, is scaled to five and down to two, and is updated",
    script: [
      "e swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1:23770 >/dev/null && echo manager",
      "e service create -d --name svc --replicas 3 --no-resolve-image $IMAGE sleep 1000 >/dev/null",
      `${replicas(3)} && echo three`,
      "e service scale -d svc=5 >/dev/null",
      `${replicas(5)} && echo five`,
      "e service scale -d svc=2 >/dev/null",
      `${replicas(2)} && echo two`,
      "e service update -d --env-add COLOUR=red svc >/dev/null",
      `wait_for 40 sh -c "docker -H $SOCKET ps -q | xargs -r docker -H $SOCKET inspect -f '{{.Config.Env}} {{.HostConfig.Runtime}}' | grep -c COLOUR=red | grep -qx 2" && echo updated`,
      "docker -H $SOCKET ps -q | xargs docker -H $SOCKET inspect -f '{{.HostConfig.Runtime}}' | sort -u",
      "e service rm svc >/dev/null; wait_for 20 sh -c \"[ -z \\\"\\$(docker -H $SOCKET ps -q)\\\" ]\" && echo removed",
      "e swarm leave --force >/dev/null && echo left",
    ].join("\n"),
    expect: /^manager\nthree\nfive\ntwo\nupdated\n\S*\nremoved\nleft$/ },
];
