/**
 * Durations as Go writes them (`30s`, `1m30s`, `1h30m`, `1.5s`), the spelling of the deployed configuration files.
 * Whole milliseconds; anything finer, negative or without a unit is refused.
 */

const UNIT_MS: Readonly<Record<string, bigint>> = { ms: 1n, s: 1000n, m: 60_000n, h: 3_600_000n };

/**
 * Reads a duration. Returns milliseconds; `undefined` for anything else.
 *
 * @example
 * ```ts
 * import { parseDuration } from "./duration.ts";
 * if (parseDuration("1m30s") !== 90_000) throw new Error("unexpected");
 * ```
 */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  if (text.length > 40 || !/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return undefined;
  let totalMs = 0n;
  for (const [, whole, , fraction = "", unit] of text.matchAll(/(\d+)(\.(\d+))?(ms|s|m|h)/g)) {
    // In integers: 0.1 has no exact double, "1.1s" is exactly 1,100 ms.
    const scale = 10n ** BigInt(fraction.length);
    const scaledMs = BigInt(whole! + fraction) * UNIT_MS[unit!]!;
    if (scaledMs % scale !== 0n) return undefined;
    totalMs += scaledMs / scale;
  }
  return totalMs <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(totalMs) : undefined;
}

/** Prints whole milliseconds as Go does: `500ms`, `1.5s`, `1m30s`, `1h0m0s`. */
export function formatDuration(durationMs: number): string {
  if (!Number.isSafeInteger(durationMs) || durationMs < 0) {
    throw new RangeError(`"durationMs" expected a whole number from 0, got ${durationMs}`);
  }
  if (durationMs === 0) return "0s";
  if (durationMs < 1000) return `${durationMs}ms`;
  const hours = Math.floor(durationMs / 3_600_000);
  const minutes = Math.floor(durationMs / 60_000) % 60;
  const seconds = Math.floor(durationMs / 1000) % 60;
  const rest = String(durationMs % 1000).padStart(3, "0").replace(/0+$/, "");
  const secondsText = `${seconds}${rest && "." + rest}s`;
  if (hours > 0) return `${hours}h${minutes}m${secondsText}`;
  return minutes > 0 ? `${minutes}m${secondsText}` : secondsText;
}
