/** A session as a person has it: init, add, serve, knock, sessions; one knock opens, the kernel closes. */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { IPV4, IPV6, type Lab } from "./lab.ts";
import { add, init, knock, openme, serve } from "./openme.ts";
import { BOTH, HOST_FIREWALL, type Mode, OWN_TABLE, parseRuleset } from "./rules.ts";
import { closesOnTime, opens } from "./timing.ts";

const HOST = "box.test";
const LIFETIME_MS = 2000;

interface Desk extends AsyncDisposable {
  readonly dir: string;
  readonly config: string;
  /** Alice's profile, as `add` printed it. */
  readonly alice: string;
}

/** `init` and `add` as the manual has them, and then the three lines that a test must change. */
async function prepare(lab: Lab, { dropPorts }: Mode): Promise<Desk> {
  const dir = await Deno.makeTempDir({ prefix: "openme-e2e-" });
  const config = await init(lab, dir, ["--server", HOST]);
  const made = await Deno.readTextFile(config);
  assert.match(made, /^ {2}drop_ports: true\b/m);
  assert.equal((await Deno.stat(config)).mode! & 0o777, 0o600);
  const alice = `${dir}/alice.yaml`;
  await Deno.writeTextFile(alice, await add(lab, config, "alice", ["--ports", "22/tcp"]), {
    mode: 0o600,
  });
  await add(lab, config, "bob", ["--ports", "80/tcp"]);
  const edited = withKey(
    withKey(await Deno.readTextFile(config), "drop_ports", String(dropPorts)),
    "knock_timeout",
    "2s",
  );
  await Deno.writeTextFile(config, withKey(edited, "state_dir", `${dir}/state`));
  await Deno.writeTextFile(`${dir}/hosts`, `${IPV4.server} ${HOST}\n${IPV6.server} ${HOST}\n`);
  return {
    dir,
    config,
    alice,
    [Symbol.asyncDispose]: async () => {
      await lab.nft("flush ruleset");
      await Deno.remove(dir, { recursive: true });
    },
  };
}

/** Sets one key of the `server` section, whether it is there or not. */
function withKey(yaml: string, key: string, value: string): string {
  const line = new RegExp(`^  #? ?${key}:.*$`, "m");
  const text = `  ${key}: ${value}`;
  return line.test(yaml) ? yaml.replace(line, text) : yaml.replace(/^server:.*$/m, `$&\n${text}`);
}

e2e("a session", async (lab, t) => {
  const { server, client, other } = await lab.agents("server", "client", "other");
  await server.listen({ tcp: [22, 80] });
  const serverAddresses = [IPV4.server, IPV6.server];

  for (const mode of [OWN_TABLE, HOST_FIREWALL, BOTH]) {
    await t.step(`one knock opens, the kernel closes (${mode.title})`, async () => {
      await using desk = await prepare(lab, mode);
      const { dir, config, alice } = desk;
      await lab.nft(mode.hostRules);
      const before = parseRuleset(await lab.ruleset());
      const assertRuleset = async (when: string) => {
        const { foreign, holes, hasTable } = parseRuleset(await lab.ruleset());
        assert.equal(foreign, before.foreign, when);
        assert.deepEqual(
          [hasTable, holes.length],
          when === "stopped" ? [false, 0] : [true, mode.holes],
        );
      };
      await using served = await serve(lab, config);

      const unknocked = await Promise.all(
        serverAddresses.flatMap((host) => [22, 80].map((port) => client.connect(host, port))),
      );
      assert.deepEqual(new Set(unknocked), new Set(["timeout"]));
      await assertRuleset("before a knock");

      const knockedFromMs = performance.now();
      const knocked = await knock(lab, "client", alice, [], `${dir}/hosts`);
      assert.equal(knocked.code, 0, knocked.stderr);
      assert.equal(knocked.stdout, "");
      for (const host of serverAddresses) {
        await opens(client, host, 22);
      }
      const knockedToMs = performance.now();

      await assertRuleset("during a grant");
      const [closed, sessions] = await Promise.all([
        Promise.all(serverAddresses.flatMap((host) => [
          client.connect(host, 80), // not alice's
          other.connect(host, 22), // not alice
        ])),
        openme(lab, "server", ["sessions", "--json", "--config", config]),
      ]);
      assert.deepEqual(new Set(closed), new Set(["timeout"]));
      assertSessions(sessions.stdout);
      assert.match(await served.waitForLine(/granted/), /granted client=alice address=\S+ /);
      for (const address of [IPV4.client, IPV6.client]) {
        await served.waitForLine(new RegExp(`granted client=alice address=${address} `));
      }

      await Promise.all(serverAddresses.map((host) =>
        closesOnTime(() => client.reaches(host, 22), {
          fromMs: knockedFromMs + LIFETIME_MS,
          toMs: knockedToMs + LIFETIME_MS,
        })
      ));
      await assertRuleset("after expiry");
      await served.stop();
      await assertRuleset("stopped");
      assert.deepEqual(served.output, []);
    });
  }
});

/** Two grants of alice's, one for each family, and the shape that scripts rely on. */
function assertSessions(stdout: string): void {
  const report = JSON.parse(stdout);
  assert.deepEqual(Object.keys(report), ["grants", "clients", "undecrypted", "unknown_key"]);
  const [{ client, last_seen_at: lastSeenAt }] = report.clients;
  assert.deepEqual([client, report.clients.length], ["alice", 1]);
  assert.ok(Math.abs(Date.parse(lastSeenAt) - Date.now()) < 10_000);
  const addresses = report.grants.map((session: Record<string, unknown>) => {
    assert.deepEqual(Object.keys(session), [
      "client",
      "address",
      "ports",
      "opened_at",
      "expires_at",
    ]);
    assert.equal(session["client"], "alice");
    assert.deepEqual(session["ports"], ["22/tcp"]);
    const [openedMs, expiresMs] = [session["opened_at"], session["expires_at"]].map(String).map(
      Date.parse,
    );
    assert.equal((expiresMs ?? 0) - (openedMs ?? 0), LIFETIME_MS);
    return session["address"];
  });
  assert.deepEqual(addresses.sort(), [IPV4.client, IPV6.client]);
}
