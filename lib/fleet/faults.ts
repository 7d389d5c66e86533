/** Why an engine does not answer, in openme's own words: what the engine or the way to it says is never passed on. */

/** The name of a fault. */
export type Fault = keyof typeof FAULTS;

export const FAULTS = {
  starting: "it has not answered so far",
  refused: "it refuses connections",
  name: "its name is not found",
  late: "it does not answer",
  lost: "the connection was lost",
  unreachable: "it cannot be reached",
  password: "it refuses the password, or wants one",
  certificate: "its certificate is not one of server.fleet.trust",
  tls: "it does not speak TLS",
  full: "it is full (maxmemory)",
  disk: "it takes no writes: its disk is full, or it cannot save",
  replica: "it takes no writes: a replica",
  busy: "it is starting, or busy",
  forbidden: "its user may not use the fleet's keys",
  foreign: "something else is stored under the fleet's name",
  protocol: "it does not speak Redis' protocol",
  flood: "it sends too much",
  process: "the process that speaks with it has ended, or hangs",
} as const;

const WHYS: ReadonlySet<unknown> = new Set(Object.values(FAULTS));

/** Whether another process that says why an engine is away has said it in these words. */
export function isWhy(text: unknown): text is string {
  return WHYS.has(text);
}

/** A fault as an error. */
export class EngineFault extends Error {
  readonly fault: Fault;

  constructor(fault: Fault) {
    super(FAULTS[fault]);
    this.fault = fault;
  }
}

/** By what an engine writes before its errors, or how Redis 5 words the one that has no such mark. */
const REPLIES: readonly (readonly [pattern: RegExp, fault: Fault])[] = [
  [/^(WRONGPASS|NOAUTH|ERR invalid password|ERR .*AUTH)/, "password"],
  [/^NOPERM/, "forbidden"],
  [/^OOM/, "full"],
  [/^MISCONF/, "disk"],
  [/^(READONLY|NOREPLICAS)/, "replica"],
  [/^(LOADING|MASTERDOWN|CLUSTERDOWN|BUSY)/, "busy"],
  [/^WRONGTYPE/, "foreign"],
  [/./, "protocol"],
];
/** By the words of Deno. */
const CONNECTING: readonly (readonly [pattern: RegExp, fault: Fault])[] = [
  [/certificate|UnknownIssuer|NotValidForName/i, "certificate"],
  [/refused/i, "refused"],
  [/lookup|resolve|no such host/i, "name"],
  [/timed? ?out/i, "late"],
  [/corrupt|tls|handshake|InvalidContentType/i, "tls"],
  [/reset|eof|closed/i, "lost"],
];

/** The fault that an error stands for, of an engine's or of the way to it. */
export function faultOf(cause: unknown): Fault {
  if (cause instanceof EngineFault) return cause.fault;
  const { name = "", message = "" } = Object(cause);
  if (name === "ReplyError") return REPLIES.find(([pattern]) => pattern.test(message))![1];
  return name === "ParserError" ? "protocol" : "lost";
}

/** The same of an error of connecting. */
export function connectingFaultOf(cause: unknown): Fault {
  if (cause instanceof EngineFault) return cause.fault;
  const { name = "", message = "" } = Object(cause);
  const text = `${name} ${message}`;
  return CONNECTING.find(([pattern]) => pattern.test(text))?.[1] ?? "unreachable";
}
