/** The commands that act on every host of a fleet, and what they print as JSON. */

import assert from "node:assert/strict";
import { blocksUnder } from "../documents/blocks.ts";
import { e2e } from "./e2e.ts";
import { RedisServer } from "./fleet_engine.ts";
import { FleetHosts, type Host, HOSTS } from "./fleet_hosts.ts";
import { checkNames, readTable } from "./json_names.ts";
import { FLEET_SIDES, IPV4 } from "./lab.ts";
import { openme } from "./openme.ts";
import { lacks } from "../support/programs.ts";
import { Folder } from "../support/folder.ts";
import { must } from "../support/knocks.ts";
import { waitFor } from "../support/wait.ts";

const needs = lacks("redis-server", "redis-cli");

e2e("the commands of a fleet", async (lab, t) => {
  const table = await readTable();
  // The engine and the fleet are set up as docs/fleet.md has it.
  const blocks = await blocksUnder({
    document: "docs/fleet.md",
    heading: "A fleet of two, in ten minutes",
    test: import.meta.url,
  });
  const text = blocks.map((block) => block.text).join("\n");
  const read = (pattern: RegExp) =>
    must(pattern.exec(text)?.[1]).replaceAll("10.0.0.1", IPV4.engine);
  await using folder = await Folder.create();
  await folder.write("redis.conf", read(/redis\.conf <<END\n([^]*?)^END$/m));
  const lines = read(/^ {2}fleet:\n((?: {4}.*\n)+)/m).trimEnd().split("\n").map((line) =>
    line.trim()
  );
  const url = must(lines.map((line) => /^url: (.*)$/.exec(line)?.[1]).find(Boolean));
  await using engine = new RedisServer(lab, new URL(url).password);
  await engine.start(undefined, { config: folder.file("redis.conf") });
  await using fleet = await FleetHosts.create(lab, { url, lines });
  await fleet.serve();
  /** What a command on the first host prints as JSON. */
  const json = async (args: readonly string[], codes = [0]) => {
    const command = [...args, "--json", "--config", fleet.sites.server.config];
    const { code, stdout, stderr } = await openme(lab, "server", command);
    assert.ok(codes.includes(code), stderr);
    const value = JSON.parse(stdout);
    checkNames(value, { table, seen: new Set(), where: args.join(" ") });
    return value;
  };
  // deno-lint-ignore no-explicit-any
  const byHost = (others: any[], what: (other: any) => unknown) =>
    Object.fromEntries(others.map((other) => [other.host, what(other)]));

  await t.step("openme fleet and doctor show the hosts", async () => {
    const report = await waitFor("the others", async () => {
      const report = await json(["fleet"]);
      return report.others.length === 2 && report.lag_ms !== null ? report : undefined;
    });
    assert.deepEqual([report.fleet, report.host, report.engine.up], ["vps", "server", true]);
    assert.deepEqual(byHost(report.others, ({ lacks }) => lacks), { second: [], third: [] });
    const { stdout } = await openme(lab, "server", [
      ...["fleet", "--config", fleet.sites.server.config],
    ]);
    assert.match(
      stdout,
      /^fleet vps, this host is server\nengine: answers(, round trip .*)?, lag /,
    );
    assert.match(stdout, /^second +\S+ +\d+ .* ago +-$/m);
    const { findings } = await json(["doctor"], [0, 1]);
    const found = findings.filter(({ what }: { what: string }) => what === "fleet");
    const texts = found.map(({ found }: { found: string }) => found);
    assert.match(texts[0], /^vps: the engine answers,/);
    assert.deepEqual(texts.slice(1), ["2 other hosts are heard"]);
  });

  const fresh = fleet.fresh();
  await t.step("sessions and history tell who is let in where", async () => {
    await fleet.sites.server.knock(fresh.name);
    await fleet.opens(fresh);
    const address = IPV4.client;
    const { grants, others } = await json(["sessions", "--fleet"]);
    assert.deepEqual(grants.map(({ client }: { client: string }) => client), [fresh.name]);
    const expected = [{ client: fresh.name, address, ports: [`${fresh.port}/tcp`] }];
    const shown = byHost(
      others,
      ({ grants }) =>
        // deno-lint-ignore no-explicit-any
        grants.map(({ client, address, ports }: any) => ({ client, address, ports })),
    );
    assert.deepEqual(shown, { second: expected, third: expected });
    const history = await json(["history", "--fleet", "--client", fresh.name]);
    assert.deepEqual(byHost(history.others, ({ history }) => history.length), {
      second: 1,
      third: 1,
    });
    const { stdout } = await openme(lab, "server", [
      ...["sessions", "--fleet", "--config", fleet.sites.server.config],
    ]);
    for (const host of HOSTS) assert.match(stdout, new RegExp(`^${host} +${fresh.name} `, "m"));
  });

  await t.step("close ends the grants at every host", async () => {
    const { closed, others } = await json(["close", fresh.name, "--fleet"]);
    assert.equal(closed.length, 1);
    assert.deepEqual(byHost(others, ({ closed }) => closed.length), { second: 1, third: 1 });
    assert.deepEqual(await fleet.openAt(fresh), []);
  });

  await t.step(
    "revoke --kill cuts connections everywhere, and no host lets the key in again",
    async () => {
      await fleet.sites.server.knock(fresh.name);
      await fleet.opens(fresh);
      const held = await fleet.client.hold(IPV4.third, fresh.port);
      assert.ok(await held.echoes());
      // A file that is wrong, half written for instance, keeps no key in force.
      const { config } = fleet.sites.third;
      const text = await Deno.readTextFile(config);
      await fleet.logs(
        /event=config_rejected/,
        async () => await Deno.writeTextFile(config, `${text}half: [\n`),
        { hosts: ["third"] },
      );
      const { others } = await json(["revoke", fresh.name, "--fleet", "--kill"]);
      assert.deepEqual(byHost(others, ({ closed, error }) => [closed.length, error]), {
        second: [1, null],
        third: [1, null],
      });
      assert.equal(byHost(others, ({ cut }) => cut.connections)["third"], 1);
      await assert.rejects(held.echoes(), /reset|closed|broken/i);
      const isRefused = async (host: Host) => {
        await fleet.logs(
          /reason=signature/,
          async () => await fleet.send(await fleet.seal(fresh), host),
          { hosts: [host] },
        );
      };
      for (const host of ["second", "third"] as const) await isRefused(host);
      await fleet.served.get("third")!.kill("SIGKILL");
      await Deno.writeTextFile(config, text);
      await fleet.serve(["third"]);
      await isRefused("third");
      assert.deepEqual(await fleet.openAt(fresh), []);
      const { stdout } = await openme(lab, "third", [
        ...["list", "--config", fleet.sites.third.config],
      ]);
      assert.match(stdout, new RegExp(`^${fresh.name} .*revoked for the fleet`, "m"));
      const { stdout: asJson } = await openme(lab, "third", [
        ...["list", "--json", "--config", fleet.sites.third.config],
      ]);
      const { clients } = JSON.parse(asJson);
      checkNames({ clients }, { table, seen: new Set(), where: "list" });
      assert.equal(
        clients.filter((each: { fleet_revoked?: true }) => each.fleet_revoked).length,
        1,
      );
    },
  );

  await t.step("a host that does not answer is named, and the exit code is 1", async () => {
    await fleet.served.get("second")!.kill("SIGKILL");
    const next = fleet.fresh();
    await fleet.sites.server.knock(next.name);
    const command = ["close", next.name, "--fleet", "--config", fleet.sites.server.config];
    const { code, stderr } = await openme(lab, "server", command);
    assert.equal(code, 1);
    assert.match(stderr, /not done: second: no answer in time/);
    await fleet.serve(["second"]);
  });

  await t.step("a client that another host lacks is found", async () => {
    const gone = fleet.fresh();
    const { code, stderr } = await openme(lab, "third", [
      ...["revoke", gone.name, "--config", fleet.sites.third.config],
    ]);
    assert.equal(code, 0, stderr);
    await fleet.served.get("third")!.kill("SIGKILL");
    await fleet.serve(["third"]);
    await waitFor("it", async () => {
      const { others } = await json(["fleet"]);
      return others.some(({ lacks }: { lacks: string[] }) => lacks?.includes(gone.name));
    });
  });

  await t.step("without the engine a command closes here, says so at once, and fails", async () => {
    const last = fleet.fresh();
    await fleet.sites.server.knock(last.name);
    await fleet.opens(last);
    await fleet.logs(/event=fleet_down/, () => engine.kill(), { hosts: ["server"] });
    const { closed, others } = await json(["close", last.name, "--fleet"], [1]);
    assert.deepEqual([closed.length, others.length, others[0].host], [1, 1, "*"]);
    assert.match(others[0].error, /^the engine does not answer \(.+\)$/);
    assert.equal((await fleet.openAt(last)).includes("server"), false);
    const sessions = await openme(lab, "server", [
      "sessions",
      "--config",
      fleet.sites.server.config,
    ]);
    assert.match(
      sessions.stderr,
      /warning: the engine of the fleet does not answer \(.+\); until it does, knocks open this host/,
    );
    const command = ["revoke", last.name, "--fleet", "--config", fleet.sites.server.config];
    const { code, stderr } = await openme(lab, "server", command);
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`hint: on each of those hosts: openme revoke ${last.name}`));
  });

  await fleet.stop();
}, { needs, sides: FLEET_SIDES });
