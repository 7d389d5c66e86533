/** A real Prometheus asks a real server for its metrics. */

import assert from "node:assert/strict";
import { blocksUnder } from "../documents/blocks.ts";
import { lacks } from "../support/programs.ts";
import { must } from "../support/knocks.ts";
import { Folder } from "../support/folder.ts";
import { waitFor } from "../support/wait.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, type Lab } from "./lab.ts";
import { openme } from "./openme.ts";
import { assertNoRights, networkSocketsOf, oneProcess, statusOf } from "./processes.ts";
import { Site } from "./site.ts";

const ADDRESS = "127.0.0.1:9469";
const PROMETHEUS = "127.0.0.1:9090";
const RULES = new URL("../../packaging/prometheus/openme.rules.yml", import.meta.url);
const NEEDS = lacks("curl", "prometheus");

const blocks = () =>
  blocksUnder({ document: "docs/metrics.md", heading: "Metrics", test: import.meta.url });

/** What a URL answers to a program on the server; "" where nothing does. */
async function get(lab: Lab, ...args: string[]): Promise<string> {
  return (await lab.output("server", ["curl", "-s", "--max-time", "5", ...args])).stdout;
}

async function metric(lab: Lab, name: string): Promise<number> {
  const text = await get(lab, `http://${ADDRESS}/metrics`);
  const line = text.split("\n").find((each) => each.startsWith(`${name} `));
  return Number(line?.slice(name.length) ?? NaN);
}

/** Starts Prometheus as docs/metrics.md has it, but faster; gives the answers of its API. */
async function startPrometheus(lab: Lab, folder: Folder) {
  const documented = must((await blocks()).find(({ language }) => language === "yaml")).text;
  const file = folder.file("prometheus.yml");
  const global = "global: {scrape_interval: 200ms, evaluation_interval: 200ms}\n";
  await Deno.writeTextFile(file, global + documented);
  await Deno.copyFile(RULES, folder.file("openme.rules.yml"));
  lab.start("server", [
    ...["prometheus", `--config.file=${file}`, `--storage.tsdb.path=${folder.file("data")}`],
    `--web.listen-address=${PROMETHEUS}`,
  ], { env: { HOME: folder.path } });
  const api = async (path: string, query = "") => {
    const text = await get(
      lab,
      ...["-G", "--data-urlencode", `query=${query}`, `http://${PROMETHEUS}/api/v1/${path}`],
    );
    return text === "" ? undefined : JSON.parse(text).data;
  };
  const value = async (query: string) => {
    const [first] = (await api("query", query))?.result ?? [];
    return first === undefined ? NaN : Number(first.value[1]);
  };
  return { api, value };
}

e2e("Prometheus sees what came of knocks, and what was done to the guard", async (lab, t) => {
  await using folder = await Folder.create();
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    knockTimeout: "60s",
    server: [`metrics: ${ADDRESS}`],
  });
  await using served = await site.serve();
  const client = await lab.agent("client");
  const { api, value } = await startPrometheus(lab, folder);

  await t.step("the line of the manual prints a metric", async () => {
    const { text } = must((await blocks()).find(({ language }) => language === "sh"));
    const printed = await lab.run("server", ["sh", "-c", text]);
    assert.match(printed, /^openme_rules_in_place 1$/m);
  });

  await t.step("accepted, refused and junk", async () => {
    await site.knock("alice");
    await site.knock("alice");
    const old = BigInt(Date.now() - 3_600_000) * 1_000_000n;
    await client.send(await site.seal("alice", { timestampNs: old }), IPV4.server, KNOCK_PORT);
    for (let i = 0; i < 3; i++) {
      await client.send(await site.sealAsStranger(), IPV4.server, KNOCK_PORT);
    }
    const expected: [string, number][] = [
      ['openme_knocks_total{outcome="granted"}', 1],
      ['openme_knocks_total{outcome="renewed"}', 1],
      ['openme_knocks_total{outcome="refused", reason="stale"}', 1],
      ['openme_knocks_total{outcome="dropped", reason="signature"}', 3],
      ['sum(openme_knocks_total{outcome="failed"})', 0],
      ["openme_open_grants", 1],
      ["openme_state_sound", 1],
      ["openme_rules_in_place", 1],
      ["openme_knock_to_rule_seconds_count", 2],
      ['openme_knock_to_rule_seconds_bucket{le="2.5"}', 2],
      ['up{job="openme"}', 1],
    ];
    for (const [query, wanted] of expected) {
      let got: number | undefined;
      const isThere = async () => (got = await value(query)) === wanted;
      await waitFor(query, isThere, { timeoutMs: 20_000, everyMs: 100 })
        .catch(() => assert.fail(`${query}: ${got}, and not ${wanted}`));
    }
    assert.doesNotMatch(await get(lab, `http://${ADDRESS}/metrics`), /alice|10\.0\.0|"}[^ ]/);
  });

  await t.step("the alert rules are loaded, and none fires", async () => {
    const { groups } = await api("rules");
    const rules = groups.flatMap((group: { rules: object[] }) => group.rules) as {
      health: string;
      state: string;
    }[];
    assert.equal(rules.length, 5);
    await waitFor("the rules", async () => {
      const [group] = (await api("rules")).groups;
      return group.rules.every((rule: { health: string }) => rule.health === "ok");
    });
    assert.deepEqual((await api("alerts")).alerts, []);
  });

  await t.step("rules that somebody takes away, and a configuration that is wrong", async () => {
    await lab.nft("delete table inet openme");
    await waitFor("the repair", async () =>
      await value("openme_rules_missing_total") === 1 &&
      await value("openme_rules_restored_total") === 1 &&
      await value("openme_rules_in_place") === 1, { timeoutMs: 15_000, everyMs: 100 });
    await site.configure({ server: [`metrics: ${ADDRESS}`, "mark: none"] });
    await served.waitForLine(/event=config_rejected/);
    const good = () => value("openme_config_last_reload_successful");
    await waitFor("the failure", async () => await good() === 0);
    const pending = async () => (await api("alerts")).alerts[0]?.labels.alertname;
    await waitFor("the alert", async () => await pending() === "OpenmeConfigRejected");
    await site.configure({ server: ["metrics: 127.0.0.1:9470"] });
    await served.waitForLine(/event=restart_needed changed=server\.metrics /);
    await waitFor("the success", async () => await good() === 1);
  });
}, { needs: NEEDS });

e2e("a process without rights serves the metrics, and may die", async (lab, t) => {
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    server: ["separate: auto", `metrics: ${ADDRESS}`],
    env: { DENO_NO_UPDATE_CHECK: "1" }, // Deno's own question, where openme runs from source
  });
  await using served = await site.serve();
  const listener = async () => {
    const { stdout } = await lab.output("server", ["ss", "-Hltnp", "sport = :9469"]);
    const pid = /pid=(\d+)/.exec(stdout)?.[1];
    return pid === undefined ? undefined : Number(pid);
  };
  const first = must(await listener());

  await t.step(
    "it is another user without a capability, and the server has no socket",
    async () => {
      assert.equal(statusOf(first)["PPid"], String(served.pid));
      assertNoRights(first);
      assert.deepEqual(await networkSocketsOf(lab, served.pid), []);
      assert.equal(await metric(lab, "openme_rules_in_place"), 1);
    },
  );

  await t.step("another one comes when it dies, and knows what was counted before", async () => {
    await site.knock("alice");
    Deno.kill(first, "SIGKILL");
    await served.waitForLine(/event=metrics_unavailable address=127\.0\.0\.1:9469 /);
    const granted = 'openme_knocks_total{outcome="granted",reason=""}';
    await waitFor("another process", async () => await metric(lab, granted) === 1, {
      timeoutMs: 10_000,
    });
    assert.notEqual(await listener(), first);
    await site.knock("alice");
  });

  await t.step("a port that another program has keeps nobody out, and is tried again", async () => {
    await served.stop();
    const other = lab.start("server", [
      ...[Deno.execPath(), "eval"],
      `await Deno.listen({ hostname: "127.0.0.1", port: 9469 }).accept()`,
    ]);
    await waitFor("the other program", async () => await listener() !== undefined, {
      timeoutMs: 20_000,
    });
    await using serving = await site.serve();
    const line = await serving.waitForLine(/event=metrics_unavailable /);
    assert.match(line, /error="cannot listen on server\.metrics 127\.0\.0\.1:9469: .*in use/i);
    assert.match(line, /hint="see who listens there: ss -ltnp sport = :9469/);
    const granted = serving.waitForLine(/event=(granted|renewed)/);
    await site.knock("alice");
    await granted;
    await other.kill("SIGKILL");
    await waitFor("the metrics", async () => await metric(lab, "openme_rules_in_place") === 1, {
      timeoutMs: 20_000,
    });
    await serving.stop();
  });

  await t.step("a Unix socket, and one process", async () => {
    const path = `${site.dir}/metrics.sock`;
    await site.configure({ server: ["separate: off", `metrics: ${path}`] });
    await using served = await site.serve();
    const text = await get(lab, "--unix-socket", path, "http://openme/metrics");
    assert.match(text, /^openme_rules_in_place 1$/m);
    await served.stop();
    await assert.rejects(Deno.lstat(path));
    await Deno.writeTextFile(path, "another's");
    await site.configure({ server: ["separate: auto", `metrics: ${path}`] });
    await using without = await site.serve();
    assert.match(
      await without.waitForLine(/event=metrics_unavailable /),
      /hint="make its folder.*doing="going on without metrics until a restart"/,
    );
    await without.stop();
    assert.equal(await Deno.readTextFile(path), "another's");
  });

  await t.step("one process, and an address that others reach, of which check warns", async () => {
    const lines = ["separate: off", `metrics: ${IPV4.server}:9471`];
    await site.configure({ server: lines });
    const check = () => openme(lab, "server", ["check", "--config", site.config]);
    const warning = /warning: server\.metrics: anyone who reaches 10\.0\.0\.1:9471 can read it/;
    assert.match((await check()).stderr, warning);
    await using served = await site.serve();
    const address = `http://${IPV4.server}:9471/metrics`;
    const fromClient = async () =>
      (await lab.output("client", ["curl", "-s", "--max-time", "1", address])).stdout;
    assert.match(await fromClient(), /openme_rules_in_place/);
    await site.configure({ server: lines, ports: { metrics: ["9471/tcp"] } });
    await served.waitForLine(/event=reloaded/);
    await waitFor("the guard", async () => await fromClient() === "");
    assert.doesNotMatch(served.lines.join("\n"), /metrics_unavailable/);
    assert.doesNotMatch((await check()).stderr, warning);
    await served.stop();
  });
}, { needs: oneProcess ?? lacks("setpriv", "curl") });
