/** `openme add`: the flags for the rules of a client's entry, which are read as the entry is. */

import { type ClientRules, readRules, RULE_KEYS, ruleTexts } from "../config/client_rules.ts";
import { ConfigError, Field } from "../config/fields.ts";
import { OpenmeError } from "../values/errors.ts";
import { type Arguments, type Parameters, textFlag } from "./context.ts";

export const RULE_FLAGS: Parameters = {
  "--hours WHEN":
    `let in only within these hours, such as "Mon-Fri 08:00-18:00 Europe/Berlin"; several with ; between`,
  "--from NETWORKS": "take only knocks from these networks, such as 203.0.113.0/24,2001:db8::/32",
  "--uses N": "how often the key can be used; 1: once",
  "--totp": `take only knocks with a code of an authenticator app; the QR code for the app is shown
      once, on standard error`,
  "--needs CLIENTS": "let in only where these clients knock within a minute as well: two people",
  "--lifetime TIME": "how long a knock opens, such as 8h (default: knock_timeout; at most 24h)",
  "--extend-while-used TIME":
    "how long from the knock its ports stay open at most while they are used, such as 8h; off: not at all, whatever the groups say (firewall: nft)",
};

/** What stands between the items of a list; hours have commas of their own. */
const BETWEEN: Partial<Record<string, string>> = { hours: ";", from: ",", needs: "," };

function flagOf(key: string): string {
  return key.replaceAll("_", "-");
}

/** The rules that the flags ask for, as they stand in the entry, and as they are read. */
export function ruleFlags(
  args: Arguments,
): { entry: Readonly<Record<string, unknown>>; rules: ClientRules | undefined } {
  const entry: Record<string, unknown> = {};
  for (const key of RULE_KEYS) {
    const text = textFlag(args, flagOf(key));
    if (text === undefined) continue;
    const items = BETWEEN[key] ? text.split(BETWEEN[key]).map((each) => each.trim()) : [text];
    const [only] = items;
    const one = key === "uses" && /^\d{1,9}$/.test(only!) ? Number(only) : only;
    entry[key] = items.length > 1 ? items : one;
    if (text.trim() === "") {
      throw new OpenmeError("USAGE", `--${flagOf(key)}: expected a value, got ""`);
    }
  }
  try {
    const fields = new Field(new Map(Object.entries(entry))).section(RULE_KEYS);
    return { entry, rules: readRules(fields, args.positionals[0] ?? "") };
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause;
    const message = cause.message.replace(/^\w+/, flagOf);
    throw new OpenmeError("USAGE", `--${message}`, { hint: cause.hint });
  }
}

/** The flags that say something else than the entry. A secret that is there is kept. */
export function differingRules(args: Arguments, rules: ClientRules | undefined): string[] {
  const there = ruleTexts(rules);
  return Object.entries(ruleTexts(ruleFlags(args).rules))
    .filter(([key, text]) => there[key as keyof typeof there] !== text)
    .map(([key]) => key)
    .concat(args.values["totp"] && rules?.totp === undefined ? ["totp"] : []);
}
