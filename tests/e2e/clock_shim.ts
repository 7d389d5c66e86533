/**
 * A wall clock that a test moves under a whole program: `deno run --preload clock_shim.ts main.ts …` runs this before
 * anything else, and from then on every reading of the time is off by as many milliseconds as the file says that
 * OPENME_TEST_CLOCK names. Nobody touches the machine's clock; the steady clock goes on, as it does where a wall clock
 * is set.
 */

const path = Deno.env.get("OPENME_TEST_CLOCK")!;
const RealDate = Date;
const now = () => RealDate.now() + Number(Deno.readTextFileSync(path));

globalThis.Date = class extends RealDate {
  constructor(...values: unknown[]) {
    // @ts-expect-error: Date takes whatever it is given.
    super(...(values.length === 0 ? [now()] : values));
  }

  static override now = now;
} as DateConstructor;
