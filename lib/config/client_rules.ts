/**
 * The rules of a client's entry beside its key and ports: read, asked of a knock, and told in words.
 * docs/configuration.md, "Rules of a client".
 */

import { type Address, parseAddress } from "../values/address.ts";
import { formatDuration } from "../values/duration.ts";
import type { KeyRecord } from "../values/key_record.ts";
import {
  containsAddress,
  formatNetwork,
  type Network,
  networkOf,
  parseNetwork,
} from "../values/network.ts";
import { type CodedKnock, type CodeOwner, type CodeRefusal, judgeCode, readTotp } from "./codes.ts";
import { LONGEST_GRANT_MS, readOwnMost } from "./extend.ts";
import { ConfigError, type Field, type Section } from "./fields.ts";
import {
  endOfHours,
  holdsAt,
  type Hours,
  HOURS_EXPECTED,
  HOURS_HINT,
  parseHours,
} from "./hours.ts";

export const RULE_KEYS = [
  "hours",
  "from",
  "uses",
  "totp",
  "needs",
  "lifetime",
  "extend_while_used",
] as const;

const MOST_USES = 1_000_000;

/** What a knock of this client has to fulfil, and how long it opens. */
export interface ClientRules {
  /** The knock comes, and the grant ends, within one of these. */
  readonly hours: readonly Hours[] | undefined;
  /** The knock's datagram comes from one of these. */
  readonly from: readonly Network[] | undefined;
  /** How often its key may be used. */
  readonly uses: number | undefined;
  /** The secret of its authenticator app, in base32: its knocks carry a code. Never shown. */
  readonly totp: string | undefined;
  /** Clients that have to knock as well, within a minute before or after: all of them. */
  readonly needs: readonly string[] | undefined;
  /** How long a knock opens, in place of `knock_timeout`. */
  readonly lifetimeMs: number | undefined;
  /** How long from the knock all its ports stay open at most while they are used; 0: not at all, whatever groups say. */
  readonly extendMs: number | undefined;
}

/** A signed knock that was not seen before, and what a server knows that rules ask for. */
export interface RuledKnock extends Omit<CodedKnock, "lifetimeMs"> {
  /** Where its datagram came from. */
  readonly source: Address;
  /** How long a knock opens where the entry does not say. */
  readonly knockTimeoutMs: number;
  /** Whether any grant of its key is in force. */
  readonly isInUse: () => boolean;
  /** Whether a client has knocked within the last minute. */
  readonly hasKnocked: (client: string) => boolean;
  /** Whether it has waited: then its code was judged when it came. */
  readonly isRemembered: boolean;
}

/** By which rule a knock is refused. */
export type RuleRefusal = "from" | "hours" | "uses" | "needs" | CodeRefusal;

/** What a client's rules say of a knock. */
export interface JudgedKnock {
  readonly refusal: RuleRefusal | undefined;
  /** What is to be remembered of the key from now on, where that changes; also of a knock that was refused. */
  readonly keyRecord: KeyRecord | undefined;
  /** Whether it belongs to a use that has begun, of the key or of a code: then it does not lengthen it. */
  readonly continues: boolean;
}

/** Judges a knock by the rules of its client's entry: the first one that is against it, in this order. Pure. */
export function judgeByRules(
  client: CodeOwner & { readonly rules: ClientRules },
  knock: RuledKnock,
): JudgedKnock {
  const { from, hours, uses, totp, needs, lifetimeMs = knock.knockTimeoutMs } = client.rules;
  const { source, nowMs, key, recordOf } = knock;
  const refused = (refusal: RuleRefusal, keyRecord?: KeyRecord) => ({
    ...{ refusal, keyRecord, continues: false },
  });
  if (from && !from.some((network) => containsAddress(network, source))) return refused("from");
  if (hours && !holdsAt(hours, nowMs)) return refused("hours");
  const isInUse = uses !== undefined && knock.isInUse();
  const beginsUse = uses !== undefined && !isInUse;
  if (beginsUse && recordOf(key).used >= uses) return refused("uses");
  const code = totp === undefined || knock.isRemembered
    ? undefined
    : judgeCode({ ...knock, lifetimeMs }, { ...client, secret: totp });
  if (code?.refusal) return refused(code.refusal, code.record);
  // What openme close ended is not opened again by the same code.
  const isEnded = code?.continues && !needs && !knock.isInUse();
  if (isEnded) return refused("code_used");
  // After the code: a knock that waits has used its code, and is no use of its key yet.
  if (needs && !needs.every(knock.hasKnocked)) return refused("needs", code?.record);
  const record = code?.record ?? recordOf(key);
  return {
    refusal: undefined,
    keyRecord: beginsUse ? { ...record, used: record.used + 1 } : code?.record,
    continues: isInUse || code?.continues === true,
  };
}

/** When a grant ends at the latest that begins or goes on now, ms since 1970; `undefined` where no hours say so. */
export function hoursEndMs(
  rules: ClientRules | undefined,
  nowMs: number,
): number | undefined {
  if (!rules?.hours) return undefined;
  // A minute more than it can last: only the end of hours shortens it.
  return endOfHours(rules.hours, nowMs, nowMs + LONGEST_GRANT_MS + 60_000);
}

/** Reads the rules of an entry; `undefined` where it has none. */
export function readRules(client: Section, name: string): ClientRules | undefined {
  if (!RULE_KEYS.some((key) => client.optional(key))) return undefined;
  const extend = client.optional("extend_while_used");
  const totp = client.optional("totp");
  return {
    hours: oneOrMore(client.optional("hours"), readHours),
    from: oneOrMore(client.optional("from"), readNetwork),
    uses: client.optional("uses")?.integer("a number of uses", 1, MOST_USES),
    totp: totp && readTotp(totp),
    needs: oneOrMore(client.optional("needs"), (field) => readOther(field, name)),
    lifetimeMs: client.optional("lifetime")?.durationMs(1000, LONGEST_GRANT_MS),
    extendMs: extend && readOwnMost(extend),
  };
}

/** A list, or its only item by itself. An empty list would let in everyone or no one: it is refused. */
function oneOrMore<T>(field: Field | undefined, read: (item: Field) => T): T[] | undefined {
  if (!field) return undefined;
  const items = Array.isArray(field.value) ? field.items() : [field];
  if (items.length === 0) {
    throw new ConfigError(
      field.path,
      "expected at least one, got an empty list",
      "leave the key out for no such rule",
    );
  }
  return items.map(read);
}

function readHours(field: Field): Hours {
  const hours = typeof field.value === "string" ? parseHours(field.value) : undefined;
  if (!hours) throw field.mismatch(HOURS_EXPECTED, HOURS_HINT);
  return hours;
}

/**
 * Another client's name. There need not be a client of that name: revoking somebody must not make the file wrong. Then
 * the knock waits in vain, and `openme check` says so.
 */
function readOther(field: Field, own: string): string {
  const name = field.name();
  if (name === own) throw field.mismatch("another client's name", "nobody is two people");
  return name;
}

function readNetwork(field: Field): Network {
  const text = typeof field.value === "string" ? field.value : "";
  const network = parseNetwork(text);
  if (network) return network;
  throw field.mismatch(
    `an address or a network such as "203.0.113.0/24"`,
    nearestNetwork(text),
  );
}

/** For an address with a length that has host bits: the network that is meant. */
function nearestNetwork(text: string): string | undefined {
  const [, base, length] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const address = base === undefined ? undefined : parseAddress(base);
  if (!address || Number(length) > address.bytes.length * 8) return undefined;
  return `did you mean "${formatNetwork(networkOf(address, Number(length)))}"?`;
}

/** Each rule in words. */
export function ruleTexts(
  rules: ClientRules | undefined,
): Partial<Record<typeof RULE_KEYS[number], string>> {
  if (!rules) return {};
  const { hours, from, uses, totp, needs, lifetimeMs, extendMs } = rules;
  return {
    ...(hours && { hours: hours.map(({ text }) => text).join(" or ") }),
    ...(from && { from: `from ${from.map(formatNetwork).join(" or ")}` }),
    ...(uses !== undefined && { uses: uses === 1 ? "once" : `${uses} times` }),
    ...(totp !== undefined && { totp: "with a code" }),
    ...(needs && { needs: `together with ${needs.join(" and ")}` }),
    ...(lifetimeMs !== undefined && { lifetime: `for ${formatDuration(lifetimeMs)}` }),
    ...(extendMs !== undefined && { extend_while_used: extendText(extendMs) }),
  };
}

/** `extend_while_used` in words. */
export function extendText(mostMs: number): string {
  return mostMs === 0
    ? "not for longer while used"
    : `while used, at most ${formatDuration(mostMs)}`;
}

/** Whether two clients have the same rules. */
export function sameRules(a: ClientRules | undefined, b: ClientRules | undefined): boolean {
  return a === b ||
    a?.totp === b?.totp && JSON.stringify(ruleTexts(a)) === JSON.stringify(ruleTexts(b));
}
