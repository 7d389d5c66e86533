/**
 * A fleet whose engine fails in every way that engines have, over TLS with a certificate of the test's own: a host with
 * `when_down: alone` opens itself and says so, one with `refuse` lets nobody in, and all is well once it is back.
 */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { certify, RedisServer } from "./fleet_engine.ts";
import { FleetHosts, type Host } from "./fleet_hosts.ts";
import { FLEET_SIDES, IPV4, type Lab } from "./lab.ts";
import { lacks } from "../support/programs.ts";
import { Folder } from "../support/folder.ts";
import { waitFor } from "../support/wait.ts";

const needs = lacks("redis-server", "redis-cli", "openssl");

/** The one that goes on alone, and the one that refuses. */
const [ALONE, REFUSING] = ["server", "second"] as const;
const BOTH: readonly Host[] = [ALONE, REFUSING];
/** How long a knock may take that opens its own host: a claim's 50 ms, and what a busy machine needs. */
const OPENS_WITHIN_MS = 1000;

interface Failure {
  readonly title: string;
  readonly cause: () => Promise<void> | void;
  readonly mend: () => Promise<void> | void;
}

/** Rules in the engine's own namespace: packets from and to these hosts are lost. */
async function cutOff(lab: Lab, hosts: readonly Host[]): Promise<void> {
  const addresses = hosts.map((host) => IPV4[host]).join(", ");
  await lab.run(
    "engine",
    ["nft", "-f", "-"],
    `table inet cut {
  chain input {
    type filter hook input priority 0
    ip saddr { ${addresses} } drop
  }
  chain output {
    type filter hook output priority 0
    ip daddr { ${addresses} } drop
  }
}`,
  );
}

async function joinAgain(lab: Lab): Promise<void> {
  await lab.run("engine", ["nft", "delete", "table", "inet", "cut"]);
}

e2e("a fleet whose engine fails", async (lab, t) => {
  await using folder = await Folder.create();
  const [certificate, another] = [
    await certify(folder.path, "own"),
    await certify(folder.path, "another"),
  ];
  await using engine = new RedisServer(lab, "swordfish");
  await using fleet = await FleetHosts.create(lab, {
    url: engine.url({ tls: true }),
    trust: certificate.trust,
    whenDown: { [REFUSING]: "refuse" },
  });

  /** Knocks at both hosts while the engine is away. */
  const knockBoth = async () => {
    const [alone, refused] = [fleet.fresh(), fleet.fresh()];
    const knock = await fleet.seal(alone);
    const startMs = performance.now();
    await fleet.send(knock, ALONE);
    await fleet.opens(alone, [ALONE]);
    const tookMs = performance.now() - startMs;
    assert.ok(tookMs < OPENS_WITHIN_MS, `${tookMs} ms`);
    await fleet.send(await fleet.seal(refused), REFUSING);
    await fleet.served.get(REFUSING)!.waitForLine(
      new RegExp(`reason=unclaimed .*client=${refused.name}( |$)`),
    );
    assert.match(await fleet.history(refused, REFUSING), /engine did not say/);
    assert.deepEqual(await fleet.openAt(refused), []);
    return { alone, knock };
  };

  await t.step("that is not there yet", async () => {
    await fleet.serve(undefined, { isUp: false });
    for (const host of BOTH) await fleet.served.get(host)!.waitForLine(/fleet_down/);
    await knockBoth();
    await fleet.logs(/event=fleet_up /, () => engine.start(certificate));
  });

  const failures: readonly Failure[] = [
    {
      title: "killed, then started empty",
      cause: () => engine.kill(),
      mend: () => engine.start(certificate),
    },
    { title: "stopped (SIGSTOP)", cause: () => engine.stop(), mend: () => engine.goOn() },
    {
      title: "full",
      cause: async () => void await engine.command("CONFIG", "SET", "maxmemory", "1"),
      mend: async () => void await engine.command("CONFIG", "SET", "maxmemory", "0"),
    },
    { title: "cut off", cause: () => cutOff(lab, BOTH), mend: () => joinAgain(lab) },
    {
      title: "with another password",
      cause: () => engine.changePassword("catfish"),
      mend: () => engine.changePassword("swordfish"),
    },
    {
      title: "with a certificate that another has signed",
      cause: async () => {
        await engine.kill();
        await engine.start(another);
      },
      mend: async () => {
        await engine.kill();
        await engine.start(certificate);
      },
    },
  ];
  for (const { title, cause, mend } of failures) {
    await t.step(title, async () => {
      const used = fleet.fresh();
      const knock = await fleet.seal(used);
      await fleet.send(knock, REFUSING);
      await fleet.opens(used);

      let alone: Awaited<ReturnType<typeof knockBoth>>;
      const down = await fleet.logs(/event=fleet_down /, async () => {
        await cause();
        alone = await knockBoth();
      }, { hosts: BOTH });
      for (const line of down) {
        assert.match(line, / why=("[^"]+"|\S+) doing=/);
        assert.doesNotMatch(line, /swordfish|catfish/);
      }
      await fleet.logs(/event=fleet_up /, mend, { hosts: BOTH });
      await waitFor("what was used alone to be told", async () => {
        await fleet.send(alone!.knock, "third", fleet.other);
        return fleet.lines("third").some((line) => /reason=replay/.test(line));
      });
      for (const host of ["server", "second", "third"] as const) {
        await fleet.send(knock, host, fleet.other);
      }
      const both = fleet.fresh();
      await fleet.send(await fleet.seal(both), REFUSING);
      await fleet.opens(both);
      await fleet.assertOnce(used, IPV4.client);
      assert.deepEqual(fleet.letIn(alone!.alone, ALONE), [IPV4.client]);
    });
  }

  await t.step("for one host alone: the others go on", async () => {
    const fresh = fleet.fresh();
    await fleet.logs(/event=fleet_down /, async () => {
      await cutOff(lab, [REFUSING]);
      await fleet.send(await fleet.seal(fresh), ALONE);
      await fleet.opens(fresh, [ALONE, "third"]);
      await fleet.send(await fleet.seal(fleet.fresh()), REFUSING);
    }, { hosts: [REFUSING] });
    assert.deepEqual(await fleet.openAt(fresh), [ALONE, "third"]);
    // Within the window of a knock the host that was away takes it, for the rest of its time.
    await joinAgain(lab);
    await fleet.opens(fresh);
    await fleet.assertOnce(fresh, IPV4.client);
  });

  await fleet.stop();
}, { needs, sides: FLEET_SIDES });
