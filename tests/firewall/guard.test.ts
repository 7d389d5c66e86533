/** The guard: many changes in one run, repaired whole when one fails, put back when somebody takes it away. */

import assert from "node:assert/strict";
import { type Address, formatAddress } from "../../lib/values/address.ts";
import { OpenmeError } from "../../lib/values/errors.ts";
import {
  type Backend,
  LivingOwnerError,
  PartlyFailed,
  type Standing,
} from "../../lib/firewall/backend.ts";
import type { GuardPlan } from "../../lib/firewall/plan.ts";
import { Guard } from "../../lib/firewall/guard.ts";
import { type AddressOpenings, Grants } from "../../lib/grants.ts";
import { formatNetwork, networkOf } from "../../lib/values/network.ts";
import { formatPortRange } from "../../lib/values/ports.ts";
import { pause, waitFor } from "../support/wait.ts";
import { StillClock } from "../support/still_clock.ts";
import { memoryLog } from "../support/memory_log.ts";
import { address, must } from "../support/knocks.ts";
import { planOf, ranges } from "./support.ts";

/** A call of the backend that waits for the test to say how it ends. */
interface Call {
  readonly name: "install" | "apply" | "restamp" | "isIntact" | "remove";
  /** For `install` and `apply`: what each address may reach from then on, `198.51.100.20 22/tcp 30000`. */
  readonly openings: readonly string[];
  readonly succeed: (intact?: boolean) => void;
  /** With `at`, only for these addresses. */
  readonly fail: (why: string | Error, at?: readonly string[]) => void;
}

/** A backend that keeps the contract and does nothing by itself. */
class FakeBackend implements Backend {
  readonly name = "fake";
  readonly endsByKernel = true;
  readonly calls: Call[] = [];
  readonly plans: GuardPlan[] = [];
  /** Calls that the test has not ended yet. The contract has one change at a time, and `remove` alone. */
  open = 0;

  install(openings: readonly AddressOpenings[]): Promise<void> {
    return this.#call("install", openings).then(() => {});
  }

  apply(changes: readonly AddressOpenings[]): Promise<void> {
    return this.#call("apply", changes).then(() => {});
  }

  restamp(): Promise<void> {
    return this.#call("restamp").then(() => {});
  }

  isIntact(): Promise<boolean> {
    return this.#call("isIntact");
  }

  remove(): Promise<void> {
    return this.#call("remove").then(() => {});
  }

  reconfigure(plan: GuardPlan): void {
    this.plans.push(plan);
  }

  examine(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  /** What it lists. */
  standing: () => Promise<readonly Standing[] | undefined> = () => Promise.resolve(undefined);

  list(): Promise<readonly Standing[] | undefined> {
    return this.standing();
  }

  leave(): Promise<void> {
    return Promise.resolve();
  }

  openToEveryone(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  /** The next call, number `n` from 0 on. */
  async call(n: number, name: Call["name"]): Promise<Call> {
    const call = await waitFor(`call ${n}`, () => this.calls[n], { everyMs: 1 });
    assert.equal(call.name, name);
    return call;
  }

  #call(name: Call["name"], openings: readonly AddressOpenings[] = []): Promise<boolean> {
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    if (name !== "isIntact") {
      assert.equal(this.open, 0, `${name} while another change is under way`);
      this.open++;
    }
    const end = () => {
      if (name !== "isIntact") this.open--;
    };
    this.calls.push({
      name,
      openings: openings.flatMap(print),
      succeed: (intact = true) => {
        end();
        resolve(intact);
      },
      fail: (why, at) => {
        end();
        const error = typeof why === "string"
          ? new OpenmeError("FIREWALL", why, { hint: "a hint" })
          : why;
        reject(at ? new PartlyFailed(error as OpenmeError, new Set(at)) : error);
      },
    });
    return promise;
  }
}

function print({ address, openings }: AddressOpenings): string[] {
  const at = formatNetwork(address);
  if (openings.length === 0) return [`${at} nothing`];
  return openings.map((each) => `${at} ${formatPortRange(each)} ${each.timeoutMs}`);
}

const [A, B, C] = ["198.51.100.20", "198.51.100.21", "2001:db8::7"].map(address) as [
  Address,
  Address,
  Address,
];

/** A guard with nothing granted, whose first install has succeeded. */
async function started() {
  const backend = new FakeBackend();
  const grants = new Grants();
  const clock = new StillClock();
  const { log, events } = memoryLog();
  const guard = new Guard({ backend, grants, clock, log });
  const starting = guard.start();
  (await backend.call(0, "install")).succeed();
  await starting;
  backend.calls.length = 0;
  const done: string[] = [];
  const failed: string[] = [];
  let seconds = 30;
  return {
    backend,
    grants,
    clock,
    guard,
    /** Whose changes have been reported as done. */
    done,
    /** Whose changes have been reported as refused, each as often as that. */
    failed,
    told: () => events.map(({ level, event }) => `${level} ${event}`),
    events,
    /** Opens 22/tcp for an address, and tells the guard; each grant one second longer than the last. */
    grant: (at: Address, name: string = formatAddress(at)) => {
      grants.open(at, {
        client: "alice",
        key: "a1",
        ports: ranges("22/tcp"),
        lifetimeMs: 1000 * seconds++,
        expiresAtMs: undefined,
      }, clock.now());
      guard.changed(networkOf(at), {
        done: () => done.push(name),
        failed: () => failed.push(name),
      });
    },
    /** Ends the guard, whatever is left of it. */
    finish: async () => {
      const stopping = guard.stop();
      const n = backend.calls.findIndex(({ name }) => name === "remove");
      (await backend.call(n < 0 ? backend.calls.length : n, "remove")).succeed();
      await stopping;
    },
  };
}

/** Lets everything that can happen now happen: what must not happen would have. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
  await new Promise((resolve) => setTimeout(resolve, 0));
}

Deno.test("start() installs every grant in force, and throws where the backend does", async () => {
  const backend = new FakeBackend();
  const grants = new Grants();
  const clock = new StillClock();
  for (const at of [A, C]) {
    grants.open(at, {
      client: "alice",
      key: "a1",
      ports: ranges("22/tcp"),
      lifetimeMs: 5000,
      expiresAtMs: undefined,
    }, clock.now());
  }
  const { log, events } = memoryLog();
  const guard = new Guard({ backend, grants, clock, log });
  const starting = guard.start();
  const call = await backend.call(0, "install");
  assert.deepEqual(call.openings, ["198.51.100.20 22/tcp 5000", "2001:db8::7 22/tcp 5000"]);
  call.fail("no nft here");
  (await backend.call(1, "remove")).succeed();
  await assert.rejects(starting, { message: "no nft here", hint: "a hint" });
  assert.deepEqual(events, []);
});

Deno.test("start() that fails takes out what it did, but no guard that stood before", async () => {
  const failing = () => Promise.reject(new Error("cannot look"));
  const cases: readonly { why: string; standing: FakeBackend["standing"]; living?: boolean }[] = [
    { why: "there was a guard", standing: () => Promise.resolve([]) },
    { why: "nobody can tell", standing: failing },
    { why: "somebody lives", standing: () => Promise.resolve(undefined), living: true },
  ];
  for (const { why, standing, living = false } of cases) {
    const backend = new FakeBackend();
    backend.standing = standing;
    const { log } = memoryLog();
    const guard = new Guard({ backend, grants: new Grants(), clock: new StillClock(), log });
    const starting = guard.start();
    const call = await backend.call(0, "install");
    call.fail(living ? new LivingOwnerError("FIREWALL", "no") : "no");
    await assert.rejects(starting, { message: "no" }, why);
    assert.equal(backend.calls.length, 1, why);
  }

  const backend = new FakeBackend();
  const { log, events } = memoryLog();
  const guard = new Guard({ backend, grants: new Grants(), clock: new StillClock(), log });
  const starting = guard.start();
  (await backend.call(0, "install")).fail("first");
  (await backend.call(1, "remove")).fail("second");
  await assert.rejects(starting, { message: "first" });
  assert.deepEqual(events.map(({ event }) => event), ["remove_failed"]);
});

Deno.test("changed() applies at once, and tells when it is done", async () => {
  const { backend, guard, done, grant, told, finish } = await started();
  grant(A);
  const call = await backend.call(0, "apply");
  assert.deepEqual(call.openings, ["198.51.100.20 22/tcp 30000"]);
  await settle();
  assert.deepEqual(done, []);
  call.succeed();
  await waitFor("it to be told", () => done.length, { everyMs: 1 });
  assert.deepEqual(done, ["198.51.100.20"]);
  guard.changed(networkOf(B)); // an address that holds nothing may reach nothing
  const second = await backend.call(1, "apply");
  assert.deepEqual(second.openings, ["198.51.100.21 nothing"]);
  second.succeed();
  await settle();
  assert.deepEqual(told(), []);
  await finish();
});

Deno.test("changes that come during a run are made together, in their latest state", async () => {
  const { backend, clock, done, grant, finish } = await started();
  grant(A, "a1");
  const first = await backend.call(0, "apply");
  for (const name of ["b1", "b2", "b3"]) grant(B, name);
  grant(C, "c1");
  grant(A, "a2");
  await settle();
  assert.equal(backend.calls.length, 1);
  clock.wallNs += 1n; // the steady clock alone counts
  first.succeed();
  const second = await backend.call(1, "apply");
  assert.deepEqual(second.openings, [
    "198.51.100.21 22/tcp 33000",
    "2001:db8::7 22/tcp 34000",
    "198.51.100.20 22/tcp 35000",
  ]);
  await settle();
  assert.deepEqual(done, ["a1"]);
  second.succeed();
  await waitFor("all to be told", () => done.length === 6, { everyMs: 1 });
  assert.deepEqual(done, ["a1", "b1", "b2", "b3", "c1", "a2"]);
  await settle();
  assert.equal(backend.calls.length, 2, "a thousand knocks are not a thousand runs");
  await finish();
});

Deno.test("a change that fails is repaired with everything", async () => {
  const { backend, done, grant, told, events, finish } = await started();
  grant(A);
  (await backend.call(0, "apply")).succeed();
  await waitFor("the first", () => done.length === 1, { everyMs: 1 });
  grant(B);
  const failing = await backend.call(1, "apply");
  grant(C);
  failing.fail("something odd");
  // Those that wait go with it.
  const install = await backend.call(2, "install");
  assert.deepEqual(install.openings.toSorted(), [
    "198.51.100.20 22/tcp 30000",
    "198.51.100.21 22/tcp 31000",
    "2001:db8::7 22/tcp 32000",
  ]);
  await settle();
  assert.deepEqual(done, ["198.51.100.20"]);
  install.succeed();
  await waitFor("the second", () => done.includes("198.51.100.21"), { everyMs: 1 });
  // Whoever was waiting when it began needs no change of their own.
  await waitFor("the third", () => done.includes("2001:db8::7"), { everyMs: 1 });
  assert.deepEqual(told(), ["warn change_failed", "info rules_restored"]);
  assert.equal(events[0]!.fields["error"], "something odd");
  await finish();
});

for (const retry of ["the next knock", "the next check"] as const) {
  Deno.test(`a repair that fails loses no grant: ${retry} tries again with all of them`, async () => {
    const { backend, guard, done, grant, told, finish } = await started();
    grant(A);
    (await backend.call(0, "apply")).fail("no");
    (await backend.call(1, "install")).fail("no again");
    await settle();
    assert.deepEqual([backend.calls.length, done], [2, []], "nobody tries without pause");
    assert.deepEqual(told(), ["warn change_failed", "error firewall_failed"]);
    if (retry === "the next knock") grant(B);
    else await guard.check();
    (await backend.call(2, "install")).fail("still no");
    await settle();
    assert.deepEqual(done, []);
    await guard.check();
    const last = await backend.call(3, "install");
    const granted = ["198.51.100.20 22/tcp 30000", "198.51.100.21 22/tcp 31000"];
    assert.deepEqual(last.openings, retry === "the next knock" ? granted : granted.slice(0, 1));
    last.succeed();
    await waitFor("all to be told", () => done.length === last.openings.length, { everyMs: 1 });
    assert.equal(told().filter((line) => line === "error firewall_failed").length, 2);
    assert.equal(told().at(-1), "info rules_restored");
    // From here on single changes do again.
    grant(C);
    const apply = await backend.call(4, "apply");
    assert.equal(apply.openings.length, 1);
    apply.succeed();
    await finish();
  });
}

Deno.test("check() puts back what is missing, with all live grants, and says so", async () => {
  const { backend, guard, grants, clock, done, grant, told, finish } = await started();
  grant(A);
  (await backend.call(0, "apply")).succeed();
  await waitFor("the first", () => done.length, { everyMs: 1 });
  const whole = guard.check();
  (await backend.call(1, "isIntact")).succeed(true);
  await whole;
  assert.deepEqual(told(), []);
  assert.equal(backend.calls.length, 2);

  // A grant that has ended in between is not put back.
  grants.put({
    ...must([...grants.list()][0]),
    client: "bob",
    address: networkOf(B),
    endsSteadyMs: clock.now().steadyMs,
  });
  const check = guard.check();
  (await backend.call(2, "isIntact")).succeed(false);
  const install = await backend.call(3, "install");
  assert.deepEqual(install.openings, ["198.51.100.20 22/tcp 30000"]);
  install.succeed();
  await check;
  assert.deepEqual(told(), ["warn rules_missing", "info rules_restored"]);
  await finish();
});

Deno.test("check() that cannot look installs anew", async () => {
  const { backend, guard, told, finish } = await started();
  const check = guard.check();
  (await backend.call(0, "isIntact")).fail("it hangs");
  (await backend.call(1, "install")).succeed();
  await check;
  assert.deepEqual(told(), ["error check_failed", "info rules_restored"]);
  await finish();
});

Deno.test("checks do not pile up behind one that hangs", async () => {
  const { backend, guard, finish } = await started();
  const checks = [guard.check(), guard.check(), guard.check()];
  const first = await backend.call(0, "isIntact");
  await settle();
  assert.equal(backend.calls.length, 1);
  first.succeed(true);
  await Promise.all(checks);
  assert.equal(backend.calls.length, 1);
  const later = guard.check();
  (await backend.call(1, "isIntact")).succeed(true);
  await later;
  await finish();
});

Deno.test("a knock is not kept waiting by a check", async () => {
  const { backend, guard, done, grant, finish } = await started();
  const check = guard.check();
  const look = await backend.call(0, "isIntact");
  grant(A);
  (await backend.call(1, "apply")).succeed();
  await waitFor("the knock", () => done.length, { everyMs: 1 });
  look.succeed(true);
  await check;
  await finish();
});

Deno.test("reconfigure() installs the new plan with all grants", async () => {
  const { backend, guard, done, told, grant, finish } = await started();
  grant(A);
  (await backend.call(0, "apply")).succeed();
  await waitFor("the first", () => done.length, { everyMs: 1 });
  const plan = planOf({ guardedPorts: ranges("80/tcp") });
  guard.reconfigure(plan);
  const install = await backend.call(1, "install");
  assert.deepEqual(backend.plans, [plan]);
  assert.deepEqual(install.openings, ["198.51.100.20 22/tcp 30000"]);
  install.succeed();
  await settle();
  assert.deepEqual(told(), [], "nothing was damaged");
  await finish();
});

Deno.test("reconfigure() that fails and is repaired is logged as any damage", async () => {
  const { backend, guard, told, finish } = await started();
  guard.reconfigure(planOf({ dropPorts: false }));
  (await backend.call(0, "install")).fail("not today");
  await settle();
  await guard.check();
  (await backend.call(1, "install")).succeed();
  await settle();
  assert.deepEqual(told(), ["error firewall_failed", "info rules_restored"]);
  await finish();
});

for (const ends of ["before", "after"] as const) {
  for (const how of ["sees other rules", "fails"] as const) {
    Deno.test(`a check that ${how} ${ends} the install of a new plan finds nothing missing`, async () => {
      const { backend, guard, told, finish } = await started();
      const check = guard.check();
      const look = await backend.call(0, "isIntact");
      const end = () => how === "fails" ? look.fail("no such table") : look.succeed(false);
      guard.reconfigure(planOf({ dropPorts: false }));
      const install = await backend.call(1, "install");
      if (ends === "before") end();
      await settle();
      install.succeed();
      await settle();
      if (ends === "after") end();
      await check;
      await settle();
      assert.deepEqual(backend.calls.map(({ name }) => name), ["isIntact", "install"]);
      assert.deepEqual(told(), []);
      // The next one looks anew, at the plan that is in force.
      const next = guard.check();
      (await backend.call(2, "isIntact")).succeed(false);
      (await backend.call(3, "install")).succeed();
      await next;
      assert.deepEqual(told(), ["warn rules_missing", "info rules_restored"]);
      await finish();
    });
  }
}

Deno.test("reconfigure() while a change is under way is not forgotten", async () => {
  const { backend, guard, done, grant, finish } = await started();
  grant(A);
  const apply = await backend.call(0, "apply");
  guard.reconfigure(planOf({ dropPorts: false }));
  apply.succeed();
  const install = await backend.call(1, "install");
  guard.reconfigure(planOf()); // and neither is one while the last is being installed
  install.succeed();
  (await backend.call(2, "install")).succeed();
  await settle();
  assert.deepEqual([backend.calls.length, backend.plans.length, done.length], [3, 2, 1]);
  await finish();
});

Deno.test("stop() waits for the run under way, then takes everything out", async () => {
  const { backend, guard, done, grant } = await started();
  grant(A);
  const apply = await backend.call(0, "apply");
  grant(B);
  const stopping = guard.stop();
  await settle();
  assert.equal(backend.calls.length, 1);
  apply.succeed();
  const remove = await backend.call(1, "remove");
  let stopped = false;
  stopping.then(() => stopped = true);
  await settle();
  assert.ok(!stopped);
  remove.succeed();
  await stopping;
  // Whoever came too late is not let in, and is not told to be.
  grant(C);
  await guard.check();
  await settle();
  assert.deepEqual(backend.calls.map(({ name }) => name), ["apply", "remove"]);
  assert.deepEqual(done, ["198.51.100.20"]);
});

Deno.test("stop() waits for stamps that are being written, and none are written afterwards", async () => {
  const { backend, guard } = await started();
  guard.restamp();
  const stopping = guard.stop();
  const writing = await backend.call(0, "restamp");
  await pause(10);
  assert.equal(backend.calls.length, 1);
  writing.succeed();
  (await backend.call(1, "remove")).succeed();
  await stopping;
  guard.restamp();
  assert.equal(backend.calls.length, 2);
});

Deno.test("stamps that the firewall refuses bring everything anew", async () => {
  const { backend, guard } = await started();
  guard.restamp();
  (await backend.call(0, "restamp")).fail("no such table");
  (await backend.call(1, "install")).succeed();
});

Deno.test("stop() throws where the backend cannot take everything out", async () => {
  const { backend, guard } = await started();
  const stopping = guard.stop();
  (await backend.call(0, "remove")).fail("no");
  await assert.rejects(stopping, { message: "no" });
});

Deno.test("a check under way while the guard stops finds nothing missing, and puts nothing back", async () => {
  const { backend, guard, told } = await started();
  const check = guard.check();
  const look = await backend.call(0, "isIntact");
  const stopping = guard.stop();
  await settle();
  assert.equal(backend.calls.length, 1, "nothing is taken out while it is being looked at");
  look.succeed(false);
  await check;
  (await backend.call(1, "remove")).succeed();
  await stopping;
  await settle();
  assert.deepEqual(backend.calls.map(({ name }) => name), ["isIntact", "remove"]);
  assert.deepEqual(told(), []);
});

Deno.test("a watcher is told each time that the firewall refuses its change", async () => {
  const { backend, guard, done, failed, grant, told, finish } = await started();
  grant(A, "a");
  (await backend.call(0, "apply")).fail("no");
  const install = await backend.call(1, "install");
  assert.deepEqual([done, failed], [[], []], "a change that fails may yet be repaired");
  install.fail("no");
  await waitFor("the refusal", () => failed.length, { everyMs: 1 });
  grant(B, "b"); // a knock is worth another attempt
  (await backend.call(2, "install")).fail("no");
  await waitFor("the next", () => failed.length === 3, { everyMs: 1 });
  assert.deepEqual([done, failed], [[], ["a", "a", "b"]]);
  await guard.check();
  (await backend.call(3, "install")).succeed();
  await waitFor("the end", () => done.length === 2, { everyMs: 1 });
  assert.deepEqual([done.toSorted(), failed.length], [["a", "b"], 3]);
  assert.equal(told().filter((line) => line === "error firewall_failed").length, 2);
  await finish();
});

Deno.test("watchers of an address whose firewall fails for long do not pile up, and a closing is told of", async () => {
  const { backend, guard, grant, finish } = await started();
  const [told, last] = [new Set<number>(), 200_000];
  let closed = false;
  grant(A, "a");
  guard.changed(networkOf(A, 32), { done: () => closed = true });
  for (let i = 0; i < last / 2; i++) {
    guard.changed(networkOf(A, 32), { done: () => told.add(i), failed: () => {} });
  }
  (await backend.call(0, "apply")).succeed();
  (await backend.call(1, "apply")).fail("no");
  const install = await backend.call(2, "install");
  for (let i = last / 2; i <= last; i++) {
    guard.changed(networkOf(A, 32), { done: () => told.add(i), failed: () => {} });
  }
  install.fail("no"); // spread into one call, so many would overflow the stack
  await guard.check();
  (await backend.call(3, "install")).succeed();
  await waitFor("the end", () => told.has(last), { everyMs: 1 });
  assert.ok(closed);
  assert.ok(told.size <= 1024, `${told.size} were kept`);
  await finish();
});

Deno.test("a call that fails for one address is no failure for the others", async () => {
  const { backend, done, failed, grant, finish } = await started();
  grant(A, "a");
  const first = await backend.call(0, "apply");
  grant(B, "b");
  grant(C, "c");
  first.succeed();
  (await backend.call(1, "apply")).fail("no", [formatAddress(B)]);
  await waitFor("the other", () => done.length === 2, { everyMs: 1 });
  assert.deepEqual([done, failed], [["a", "c"], []]);
  (await backend.call(2, "install")).fail("no", [formatAddress(B)]);
  await waitFor("the refusal", () => failed.length, { everyMs: 1 });
  assert.deepEqual([done, failed], [["a", "c"], ["b"]]);
  grant(A, "a2");
  (await backend.call(3, "install")).fail("no", [formatAddress(B)]);
  await waitFor("a2", () => done.includes("a2"), { everyMs: 1 });
  assert.deepEqual(failed, ["b", "b"]);
  await finish();
});

Deno.test("a roll-back puts the former guard back, and removes everything where that fails", async () => {
  const former = planOf({ guardedPorts: ranges("80/tcp") });
  {
    const { backend, guard, told } = await started();
    const back = guard.putBack(former);
    (await backend.call(0, "install")).succeed();
    assert.equal(await back, true);
    assert.deepEqual(backend.plans, [former]);
    assert.deepEqual(told(), []);
  }
  {
    const { backend, guard, told } = await started();
    const back = guard.putBack(former);
    (await backend.call(0, "install")).fail("no");
    const removal = await backend.call(1, "remove");
    assert.deepEqual(told(), [], "putting back comes before telling");
    removal.succeed();
    assert.equal(await back, false);
    assert.deepEqual(told(), ["error former_guard_failed"]);
  }
  {
    const { backend, guard, told } = await started();
    const back = guard.putBack(undefined);
    (await backend.call(0, "remove")).fail("busy");
    (await backend.call(1, "remove")).succeed();
    assert.equal(await back, false);
    assert.deepEqual(told(), ["error remove_failed"]);
  }
});

Deno.test("a roll-back waits for the run under way, also where a watcher throws", async () => {
  const { backend, guard, grants, clock } = await started();
  grants.open(A, {
    client: "alice",
    key: "a1",
    ports: ranges("22/tcp"),
    lifetimeMs: 1000,
    expiresAtMs: undefined,
  }, clock.now());
  const refuse = () => {
    throw new Error("a listener that is broken");
  };
  guard.changed(networkOf(A), { done: refuse, failed: refuse });
  (await backend.call(0, "apply")).fail("no");
  const repair = await backend.call(1, "install");
  const back = guard.putBack(undefined);
  await Promise.resolve();
  repair.fail("no");
  (await backend.call(2, "remove")).succeed();
  assert.equal(await back, false);
});
