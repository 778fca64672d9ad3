/** Rows of a docker with its usual network: a bridge, and ports that it publishes by a proxy. */
import type { EngineRow } from "./row.ts";

const engines = ["docker-bridge"] as const;
const serve = "httpd -f -p 8080 -h /var/data";

// biome-ignore format: table
export const bridgeRows: readonly EngineRow[] = [
  { id: "bridge-address", engines, claim: "a container has an address, a route and its engine's names of hosts",
    script: "run --rm --hostname named --add-host other:10.1.2.3 $IMAGE sh -c 'ip -o -4 addr show eth0 | grep -o 172.17.0; ip route | grep -o default.via.172.17.0.1; grep -c named /etc/hosts; grep other /etc/hosts; test -s /etc/resolv.conf && echo resolv'", expect: /^172.17.0\ndefault via 172.17.0.1\n1\n10.1.2.3\s+other\nresolv$/ },
  { id: "bridge-out", engines, claim: "a container reaches a server on the bridge",
    script: "mkdir $DIR/www; head -c 500000 /dev/urandom > $DIR/www/body; PORT=$((20000 + RANDOM % 20000)); outside timeout 30 busybox httpd -f -p $PORT -h $DIR/www >/dev/null 2>&1 & sleep 0.5; run --rm $IMAGE wget -q -O - http://172.17.0.1:$PORT/body | cmp - $DIR/www/body && echo same", expect: /^same$/ },
  { id: "bridge-in", engines, claim: "a published port leads to the container",
    script: `run -d -p 127.0.0.1:18080:8080 $IMAGE ${serve} >/dev/null; wait_for 10 outside busybox wget -q -O /dev/null http://127.0.0.1:18080/from-image; outside busybox wget -q -O - http://127.0.0.1:18080/from-image`, expect: /^from the image$/ },
  { id: "bridge-between", engines, claim: "containers on one bridge reach each other",
    script: `run -d $IMAGE ${serve} >/dev/null; A=$NAME; IP=$(e inspect -f '{{.NetworkSettings.IPAddress}}' $A); sleep 1; NAME=$A-b; run --rm $IMAGE wget -q -O - http://$IP:8080/from-image; NAME=$A`, expect: /^from the image$/ },
  { id: "bridge-restart", engines, claim: "a container has its network again after a restart",
    script: `run -d $IMAGE ${serve} >/dev/null; e restart -t 0 $NAME >/dev/null; IP=$(e inspect -f '{{.NetworkSettings.IPAddress}}' $NAME); wait_for 10 outside busybox wget -q -O /dev/null http://$IP:8080/from-image && echo back`, expect: /^back$/ },
];
