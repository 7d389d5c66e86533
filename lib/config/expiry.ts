/** When a key ends, as the configuration writes it: a date or a time. */

export const EXPIRY_EXPECTED =
  `a date such as "2027-12-31" or a time such as "2027-12-31T18:00:00Z"`;

/** Reads a date (its first moment, UTC) or an RFC 3339 time. Returns ms since 1970, `undefined` for anything else. */
export function parseExpiry(value: unknown): number | undefined {
  if (typeof value !== "string") return undefined;
  const match =
    /^(\d{4}-\d\d-\d\d)(?:[Tt ](?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d))?$/
      .exec(value);
  if (!match) return undefined;
  // Date.parse rolls "2027-02-30" over into March; that day must exist.
  const dayMs = Date.parse(`${match[1]}T00:00:00Z`);
  if (Number.isNaN(dayMs) || new Date(dayMs).toISOString().slice(0, 10) !== match[1]) {
    return undefined;
  }
  const atMs = match[0] === match[1] ? dayMs : Date.parse(value.toUpperCase().replace(" ", "T"));
  return Number.isNaN(atMs) ? undefined : atMs;
}
