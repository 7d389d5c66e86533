/**
 * A host of a fleet: claims each knock for the fleet before it is decided, tells the other hosts of those that it accepts,
 * and decides about those that they tell of, as about any knock: by its own configuration, clock and replay memory.
 */

import type { FleetConfig } from "../config/fleet.ts";
import type { ServerConfig } from "../config/server.ts";
import { type Agreements, agreementsOf, identify, isStale, type SignedKnock } from "../gate.ts";
import type { KnockSink } from "../receive/intake.ts";
import { pause } from "../system/clock.ts";
import type { Log } from "../system/log.ts";
import { type Clock, wallMsOf } from "../values/moment.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import { VERSION } from "../values/version.ts";
import type { Engine, EngineListener, EngineState } from "./engine.ts";
import {
  type Alive,
  type EntryBody,
  type EntryHead,
  type KnockEntry,
  MOST_HINTS,
  openEntry,
  sealEntry,
} from "./entry.ts";
import { Claims } from "./claims.ts";
import { Asking, type AskingParts, type HostAnswer } from "./asking.ts";
import { ALIVE_MS, type HeardHost, HeardHosts } from "./hosts.ts";
import { type FleetSeal, fleetSeal } from "./keys.ts";

/** Entries that wait until the host takes knocks: the engine keeps those of some time for hosts that were away. */
const MOST_WAITING = 1000;
/** Entries of other hosts that are looked at: a signature each. */
const ENTRIES = { perSecond: 500, capacity: 1000 };
const TELL_AGAIN_MS = 60_000;
const DAY_MS = 86_400_000;
/** How long the host that has a code may take to tell this one for whom it was used. */
const TOLD_MS = 200;

/** What a fleet works with. */
export interface FleetParts {
  readonly clock: Clock;
  readonly log: Log;
  /** This host's name, and that of this process. */
  readonly host: string;
  readonly claimant: string;
  /** A random word. */
  readonly newId: () => string;
}

/** One host of a fleet. */
export class Fleet implements EngineListener {
  readonly config: FleetConfig;
  readonly #parts: FleetParts;
  readonly #entries = new TokenBucket(ENTRIES);
  readonly #claims: Claims;
  /** Until this host takes knocks; `undefined` from then on. */
  #waiting: string[] | undefined = [];
  readonly #tried = Promise.withResolvers<void>();
  #engine: Engine | undefined;
  #sink: KnockSink | undefined;
  #server: ServerConfig;
  #seal: FleetSeal;
  #agreements: Agreements;
  readonly #heard = new HeardHosts();
  readonly #asking: Asking;
  /** When knocks were decided, by the steady clock: some then wait for another one. */
  readonly #decidedAtMs = new WeakMap<SignedKnock, number>();
  #answer: AskingParts["answer"] = () => Promise.reject(new Error("it is starting"));
  #lagMs: number | null = null;
  #junk = 0;
  #toldOfJunkAtMs = -Infinity;

  constructor(server: ServerConfig, config: FleetConfig, parts: FleetParts) {
    this.config = config;
    this.#claims = new Claims(parts.clock);
    this.#parts = parts;
    this.#server = server;
    this.#seal = fleetSeal(server, config.name);
    this.#agreements = agreementsOf(server);
    this.#asking = new Asking({
      send: (body) => this.#send(body),
      answer: (request, host) => this.#answer(request, host),
      newId: parts.newId,
    });
  }

  /** The engine, once it is there: until then it counts as one that does not answer. */
  use(engine: Engine): void {
    this.#engine = engine;
  }

  /** Resolves once the engine has answered, or it is known that it does not. */
  get tried(): Promise<void> {
    return this.#tried.promise;
  }

  state(): EngineState | undefined {
    return this.#engine?.state();
  }

  /** The sink of this host's own knocks: they are claimed first, and only then `sink` decides. */
  over(sink: KnockSink): KnockSink {
    this.#sink = sink;
    return {
      signed: (knock) => this.#claim(knock),
      dropped: (reason, source) => sink.dropped(reason, source),
      droppedMore: (reason, datagrams) => sink.droppedMore(reason, datagrams),
    };
  }

  /** From now on this configuration holds. */
  reconfigure(server: ServerConfig): void {
    this.#server = server;
    this.#seal = fleetSeal(server, this.config.name);
    this.#agreements = agreementsOf(server);
  }

  /** This host has let somebody in for this knock. */
  granted(knock: SignedKnock): void {
    const { datagram, source, key, fleet } = knock;
    if (!datagram || fleet?.from !== undefined) return;
    const { steadyMs } = this.#parts.clock.now();
    const waitedMs = Math.round(steadyMs - (this.#decidedAtMs.get(knock) ?? steadyMs));
    this.#send({ knock: datagram, source, key, waitedMs });
  }

  /** An entry of the stream, which anyone may have written who reaches the engine. */
  entry(sealed: string): void {
    if (this.#waiting) {
      if (this.#waiting.length < MOST_WAITING) this.#waiting.push(sealed);
      return;
    }
    const { clock, claimant } = this.#parts;
    const now = clock.now();
    const nowMs = wallMsOf(now);
    const entry = openEntry(sealed, this.#seal);
    if (!entry) return this.#tellOfJunk(now.steadyMs);
    const ageMs = nowMs - entry.atMs;
    if (entry.claimant === claimant) {
      if ("alive" in entry) this.#lagMs = ageMs;
      return;
    }
    if (this.#entries.take(1, now.steadyMs) === 0) return;
    if ("knock" in entry) return this.#takeKnock(entry, ageMs);
    // Also of a host whose clock is far off: that is to be found out.
    if ("alive" in entry && Math.abs(ageMs) <= DAY_MS) return this.#heard.heard(entry, now);
    // What is this old, the engine has kept back.
    if (Math.abs(ageMs) > this.#server.replayWindowMs || "alive" in entry) return;
    if ("ask" in entry) this.#asking.take(entry, entry.host);
    else this.#asking.takePart(entry, entry);
  }

  /** The hosts that were heard of late, without this one. */
  hosts(): HeardHost[] {
    return this.#heard.list(this.#parts.clock.now());
  }

  /** What the metrics tell. */
  figures() {
    const { isUp = false, roundTripMs } = this.state() ?? {};
    return { isUp, roundTripMs, lagMs: this.#lagMs, hosts: this.hosts() };
  }

  /** What this host tells of itself. */
  self(): Alive & { readonly host: string } {
    const hints = [...this.#server.keys.byHint].filter(([, keys]) => keys.length > 0)
      .map(([hint]) => hint);
    return {
      host: this.#parts.host,
      version: VERSION,
      clients: this.#server.clients.length,
      hints: hints.length <= MOST_HINTS ? hints : [],
      lagMs: this.#lagMs,
    };
  }

  /** Asks every other host; those that were heard of late have this long. */
  async ask(request: unknown, forMs: number): Promise<HostAnswer[]> {
    const over = new AbortController();
    return await this.#asking.ask(request, this.hosts(), pause(forMs, over.signal))
      .finally(() => over.abort());
  }

  /** From now on questions of other hosts are answered by this. */
  onAsked(answer: AskingParts["answer"]): void {
    this.#answer = answer;
  }

  /** Takes what others have written so far, and tells them that it is there until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const entry of waiting) this.entry(entry);
    while (!signal.aborted) {
      this.#tellAlive();
      await pause(ALIVE_MS, signal);
    }
  }

  #tellAlive(): void {
    const { host: _, ...alive } = this.self();
    this.#send({ alive });
  }

  #send(body: EntryBody): void {
    const { host, claimant, clock } = this.#parts;
    const atMs = wallMsOf(clock.now());
    this.#engine?.publish(sealEntry({ ...body, host, claimant, atMs }, this.#seal));
  }

  #takeKnock(
    { knock, source, key, host, waitedMs }: EntryHead & KnockEntry,
    ageMs: number,
  ) {
    const client = this.#server.keys.byKey.get(key);
    if (!client) return; // not a client of this host
    const only = [client];
    const candidates = { hinted: () => only, inOrder: () => only, accepted: () => {} };
    const signed = identify(knock, source, { ...this.#agreements, candidates });
    if (typeof signed === "string") return;
    this.#sink?.signed({ ...signed, fleet: { from: host, ageMs: Math.max(0, ageMs), waitedMs } });
  }

  changed({ isUp, why }: EngineState): void {
    const { log } = this.#parts;
    const { name, whenDown } = this.config;
    this.#tried.resolve();
    if (isUp) {
      this.#tellAlive();
      this.#claims.claimMissed(this.#engine);
      return log.info("fleet_up", { fleet: name });
    }
    log.warn("fleet_down", {
      fleet: name,
      why,
      doing: whenDown === "alone"
        ? "going on alone: knocks open this host only, and their replay is found by its own memory only"
        : "letting nobody in until it answers (server.fleet.when_down)",
    });
  }

  /** Asks whether this host is the first to have the knock, and passes it on as the answer says. */
  async #claim(knock: SignedKnock): Promise<void> {
    const sink = this.#sink!;
    const { wallNs } = this.#parts.clock.now();
    const { keys, replayWindowMs } = this.#server;
    const client = keys.byKey.get(knock.key);
    // What opens nothing anyway needs no claim.
    const replayWindowNs = BigInt(replayWindowMs) * 1_000_000n;
    const isRefusedAnyway = !client || wallNs >= (client.expiresNs ?? Infinity) ||
      isStale(knock, wallNs, { replayWindowNs });
    if (isRefusedAnyway) return sink.signed(knock);
    const { isOurs, isCodeOurs } = await this.#claims.claimKnock(this.#engine, knock, {
      ...{ client: client.client, replayWindowMs },
    });
    if (isOurs === false) return sink.dropped("replay", () => knock.source, client.name);
    const isUnknown = isOurs === undefined || isCodeOurs === undefined;
    if (isUnknown) this.#parts.log.debug("not_claimed", { client: client.name });
    if (isCodeOurs === false) await pause(TOLD_MS);
    const unclaimed = isUnknown && this.config.whenDown === "refuse"
      ? "knock"
      : isCodeOurs === false
      ? "code"
      : undefined;
    const claimed: SignedKnock = unclaimed ? { ...knock, fleet: { unclaimed } } : knock;
    this.#decidedAtMs.set(claimed, this.#parts.clock.now().steadyMs);
    sink.signed(claimed);
  }

  #tellOfJunk(steadyMs: number): void {
    this.#junk++;
    if (steadyMs - this.#toldOfJunkAtMs < TELL_AGAIN_MS) return;
    this.#toldOfJunkAtMs = steadyMs;
    this.#parts.log.warn("fleet_junk", {
      fleet: this.config.name,
      entries: this.#junk,
      why: "no host with this server's private key has written them",
      hint: "another fleet of the same name, another server key, or someone who reaches the engine",
    });
  }
}
