/**
 * Command lines as people type them, read without `node:util`, which costs a knock a quarter of its time. Whatever is
 * not plainly right gives `undefined`, and `node:util` says what is wrong with it (tests/cli/parse_args.test.ts holds
 * the two against each other).
 */

/** What a flag may be; the part of `node:util`'s description that openme uses. */
export type PlainOptions = Readonly<
  Record<string, { readonly type: "string" | "boolean"; readonly short?: string }>
>;

/** The flags by name and everything else in its order. */
export interface PlainArguments {
  readonly values: Record<string, string | boolean>;
  readonly positionals: string[];
}

/** Parses what is plainly right; the last of two values counts. */
export function parsePlainArgs(
  args: readonly string[],
  options: PlainOptions,
): PlainArguments | undefined {
  const values: Record<string, string | boolean> = Object.create(null);
  const positionals: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") return { values, positionals: [...positionals, ...args.slice(i + 1)] };
    if (arg === "-" || !arg.startsWith("-")) {
      positionals.push(arg);
      continue;
    }
    const [, name = nameOfShort(arg, options), inline] = /^--([^=]+)(?:=(.*))?$/s.exec(arg) ?? [];
    if (name === undefined || !Object.hasOwn(options, name)) return undefined;
    if (options[name]!.type === "boolean") {
      if (inline !== undefined) return undefined;
      values[name] = true;
      continue;
    }
    // What looks like another flag is more likely a forgotten value than one.
    const value = inline ?? args[++i];
    if (value === undefined || (inline === undefined && /^-./s.test(value))) return undefined;
    values[name] = value;
  }
  return { values, positionals };
}

function nameOfShort(arg: string, options: PlainOptions): string | undefined {
  if (arg.length !== 2) return undefined;
  return Object.keys(options).find((name) => options[name]!.short === arg[1]);
}
