/** The metrics: what is counted, the text, and that no word from outside is in it. */

import assert from "node:assert/strict";
import { ClockSteps } from "../../lib/metrics/clock_steps.ts";
import { VERSION } from "../../lib/values/version.ts";
import { runToEnd } from "../e2e/lab.ts";
import { Folder } from "../support/folder.ts";
import { testWith } from "../support/programs.ts";
import { Played } from "./server.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

Deno.test("knocks are counted by outcome and reason, and nothing else becomes a label", async () => {
  using server = await Played.start();
  const { observer } = server;
  server.open("alice");
  server.open("alice", { renewed: true });
  observer.dropped("stale", 1);
  observer.dropped("decrypt", 41);
  observer.dropped("decrypt", 1);
  observer.dropped("backend", 2);
  observer.dropped('x"} 1\nopenme_state_sound 0', 1);
  observer.kernelDropped("rate", 7);
  observer.kernelDropped("new reason", 7);
  observer.logged("expired");
  observer.logged("__proto__");
  const series = await server.series();
  const expected: [string, number][] = [
    ['openme_knocks_total{outcome="granted",reason=""}', 1],
    ['openme_knocks_total{outcome="renewed",reason=""}', 1],
    ['openme_knocks_total{outcome="refused",reason="stale"}', 1],
    ['openme_knocks_total{outcome="refused",reason="replay"}', 0],
    ['openme_knocks_total{outcome="dropped",reason="decrypt"}', 42],
    ['openme_knocks_total{outcome="failed",reason="backend"}', 2],
    ['openme_kernel_drops_total{reason="rate"}', 7],
    ['openme_grants_ended_total{how="expired"}', 1],
    ['openme_grants_ended_total{how="withdrawn"}', 0],
    ["openme_open_grants", 1],
    ["openme_clients", 1],
    ["openme_state_sound", 1],
    [`openme_build_info{version="${VERSION}"}`, 1],
  ];
  for (const [name, value] of expected) assert.equal(series.get(name), value, name);
  const all = [...series.keys()].join("\n");
  assert.doesNotMatch(all, /client="|x"|new reason|__proto__/);
});

Deno.test("grants that have ended are not open, and the time to the rule falls into its bucket", async () => {
  using server = await Played.start();
  server.open("alice", { tookMs: 3 });
  server.open("bob", { tookMs: 40 });
  server.clock.steadyMs += 30_000;
  server.open("carol", { tookMs: 20_000 });
  const series = await server.series();
  assert.equal(series.get("openme_open_grants"), 1);
  const bucket = (le: string) => series.get(`openme_knock_to_rule_seconds_bucket{le="${le}"}`);
  assert.deepEqual([bucket("0.0025"), bucket("0.005"), bucket("0.05")], [0, 1, 2]);
  assert.deepEqual([bucket("10"), bucket("+Inf")], [2, 3]);
  assert.equal(series.get("openme_knock_to_rule_seconds_count"), 3);
});

Deno.test("clients are named only with metrics_client_names, and at most 1000 of them", async () => {
  using server = await Played.start(["metrics_client_names: true"]);
  server.open("alice");
  server.open("alice", { renewed: true });
  for (let i = 0; i < 1100; i++) server.open(`c${i}`);
  const series = await server.series();
  assert.equal(series.get('openme_client_knocks_total{client="alice"}'), 2);
  assert.equal(series.get('openme_client_open_grants{client="alice"}'), 1);
  assert.equal(series.get('openme_client_open_grants{client="_others"}'), 101);
  const named = [...series.keys()].filter((each) => each.startsWith("openme_client_open_grants"));
  assert.equal(named.length, 1001);
});

Deno.test("a failure of the firewall shows until the guard is repaired", async () => {
  using server = await Played.start();
  const inPlace = async () => (await server.series()).get("openme_rules_in_place");
  for (const event of ["change_failed", "firewall_failed", "check_failed", "rules_missing"]) {
    assert.equal(await inPlace(), 1);
    server.observer.logged(event);
    assert.equal(await inPlace(), 0, event);
    server.observer.logged("rules_restored");
  }
  server.condition = { isSound: false, waiting: 3 };
  const series = await server.series();
  assert.equal(series.get("openme_rules_in_place"), 1);
  assert.equal(series.get("openme_rules_missing_total"), 1);
  assert.equal(series.get("openme_rules_restored_total"), 4);
  assert.equal(series.get('openme_firewall_failures_total{step="install"}'), 1);
  assert.equal(series.get("openme_firewall_queue_length"), 3);
  assert.equal(series.get("openme_state_sound"), 0);
});

Deno.test("a rejected configuration shows until a good one is read", async () => {
  using server = await Played.start();
  const read = async () => {
    const series = await server.series();
    return [
      series.get("openme_config_last_reload_successful"),
      series.get("openme_config_last_reload_success_timestamp_seconds")! -
      series.get("openme_start_time_seconds")!,
    ];
  };
  assert.deepEqual(await read(), [1, 0]);
  server.observer.logged("config_rejected");
  assert.deepEqual(await read(), [0, 0]);
  server.observer.logged("reloaded");
  assert.deepEqual(await read(), [1, 2]);
});

Deno.test("ClockSteps tells a step of the wall clock from its slewing", () => {
  const steps = new ClockSteps();
  const at = (wallMs: number, steadyMs: number) =>
    steps.look({ wallNs: BigInt(wallMs) * 1_000_000n, steadyMs });
  assert.equal(at(1_000_000, 0), undefined);
  assert.equal(at(1_001_001, 1000), undefined, "a ms a second");
  assert.equal(at(1_003_001, 2000), "ahead");
  assert.equal(at(1_004_001, 3000), undefined);
  assert.equal(at(5, 4000), "back");
  assert.equal(at(10_005, 14_000), undefined, "a timer that came late is no step");
});

Deno.test("requests within a fifth of a second are answered with the same text", async () => {
  using server = await Played.start();
  const text = await server.text();
  server.open("alice");
  server.clock.steadyMs -= 900; // text() moves it on by a second
  assert.equal(await server.text(), text);
  assert.notEqual(await server.text(), text);
});

testWith(["promtool"], "promtool has nothing against the text, with client names too", async () => {
  for (const lines of [[], ["metrics_client_names: true"]]) {
    using server = await Played.start(lines);
    server.open("alice");
    const child = new Deno.Command("promtool", {
      args: ["check", "metrics"],
      ...{ stdin: "piped", stdout: "piped", stderr: "piped" },
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(await server.text()));
    await writer.close();
    const { code, stderr } = await child.output();
    assert.deepEqual([code, new TextDecoder().decode(stderr)], [0, ""]);
  }
});

/** The metrics that an expression of PromQL, or any text, names; a histogram's by its own name. */
function namedIn(text: string): Set<string> {
  const names = text.match(/\bopenme_\w+/g) ?? [];
  return new Set(names.map((name) => name.replace(/_(bucket|sum|count)$/, "")));
}

async function declared(): Promise<Map<string, { type: string; help: string }>> {
  using server = await Played.start();
  const text = await server.text();
  const types = new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, a, b]) => [a!, b!]));
  return new Map([...text.matchAll(/^# HELP (\S+) (.+)$/gm)].map(([, name, help]) => [
    name!,
    { type: types.get(name!)!, help: help! },
  ]));
}

Deno.test("what a fleet tells is there in seconds, with the name of the host", async () => {
  using server = await Played.start();
  const series = await server.series();
  assert.equal(series.get("openme_fleet_engine_up"), 1);
  assert.equal(series.get("openme_fleet_round_trip_seconds"), 0.002);
  assert.equal(series.get("openme_fleet_lag_seconds"), 0.003);
  assert.equal(series.get("openme_fleet_hosts"), 1);
  assert.equal(series.get('openme_fleet_host_lag_seconds{host="b.example"}'), 0);
  assert.equal(series.get('openme_fleet_host_clock_ahead_seconds{host="b.example"}'), -1.5);
});

Deno.test("the dashboard and the rules name metrics that there are", async () => {
  const known = await declared();
  const dashboard = JSON.parse(await Deno.readTextFile(`${ROOT}packaging/grafana/openme.json`));
  const expressions: string[] = dashboard.panels.flatMap((panel: { targets: { expr: string }[] }) =>
    panel.targets.map(({ expr }) => expr)
  );
  assert.ok(expressions.length > 10);
  const rules = await Deno.readTextFile(`${ROOT}packaging/prometheus/openme.rules.yml`);
  expressions.push(...[...rules.matchAll(/^ *expr: (.*)$/gm)].map(([, expr]) => expr!));
  const named = namedIn(expressions.join("\n"));
  assert.deepEqual([...named].filter((name) => !known.has(name)), []);
  const shown = [...known.keys()].filter((name) => !named.has(name));
  assert.deepEqual(shown, [], "a metric that nothing shows");
});

Deno.test("the table in docs/metrics.md is the metrics, their types and what they tell", async () => {
  const document = await Deno.readTextFile(`${ROOT}docs/metrics.md`);
  const rows = [...document.matchAll(/^\| `(openme_\w+)[^|]*\| (\w+) +\| (.+?) +\|$/gm)];
  const listed = rows.map(([, name, type, help]) => [name, { type, help }]);
  assert.deepEqual(listed, [...await declared()]);
});

testWith(["promtool"], "each alert fires for its trouble, and for nothing else", async () => {
  await using folder = await Folder.create();
  const rules = `${ROOT}packaging/prometheus/openme.rules.yml`;
  const labels = 'job="openme", instance="vps"';
  const alerts: [name: string, series: string, values: string, severity: string][] = [
    ["OpenmeDown", `up{${labels}}`, "1x10 0x20", "critical"],
    ["OpenmeRulesNotInPlace", `openme_rules_in_place{${labels}}`, "1x10 0x20", "critical"],
    ["OpenmeStateNotOnDisk", `openme_state_sound{${labels}}`, "1x10 0x20", "warning"],
    [
      "OpenmeOverload",
      `openme_knocks_total{${labels}, outcome="dropped", reason="overload"}`,
      "0x10 600+600x20",
      "warning",
    ],
    [
      "OpenmeConfigRejected",
      `openme_config_last_reload_successful{${labels}}`,
      "1x10 0x20",
      "warning",
    ],
  ];
  const source = await Deno.readTextFile(rules);
  assert.deepEqual(
    [...source.matchAll(/alert: (\w+)/g)].map(([, name]) => name),
    alerts.map(([name]) => name),
  );
  const textOf = (name: string, what: string) =>
    new RegExp(`alert: ${name}\\n[^]*?${what}: "(.*)"`).exec(source)![1]!
      .replace("{{ $labels.instance }}", "vps");
  const tests = alerts.map(([name, series, values, severity]) => ({
    interval: "1m",
    input_series: [{ series, values }],
    alert_rule_test: alerts.flatMap(([alert]) => [
      { eval_time: "9m", alertname: alert },
      {
        eval_time: "25m",
        alertname: alert,
        ...(alert !== name ? {} : {
          exp_alerts: [{
            exp_labels: { job: "openme", instance: "vps", severity },
            exp_annotations: {
              summary: textOf(name, "summary"),
              runbook: textOf(name, "runbook"),
            },
          }],
        }),
      },
    ]),
  }));
  const file = folder.file("test.yml");
  await Deno.writeTextFile(file, JSON.stringify({ rule_files: [rules], tests }));
  const { code, stdout, stderr } = await runToEnd("promtool", ["test", "rules", file]);
  assert.equal(code, 0, stdout + stderr);
});
