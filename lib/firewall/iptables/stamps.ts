/** Writes the stamps of now into the kernel, one `iptables-restore` a family, where rules can compare them. */

import type { KnockStamp } from "../backend.ts";
import type { CheckedRules } from "../host/generation.ts";
import type { IptablesProgram } from "../host/iptables.ts";
import { allEnded } from "../run.ts";
import { renderStamps, STAMP_MATCH } from "./knocks.ts";

export class StampWriter {
  readonly #program: IptablesProgram;
  readonly #stamps: () => readonly KnockStamp[];
  readonly #checked: CheckedRules;
  #canCompare = false;
  #writing: Promise<void> = Promise.resolve();

  /** `stamps` gives those of now; `checked` learns of every transaction. */
  constructor(
    program: IptablesProgram,
    { stamps = () => [], checked }: {
      stamps: (() => readonly KnockStamp[]) | undefined;
      checked: CheckedRules;
    },
  ) {
    this.#program = program;
    this.#stamps = stamps;
    this.#checked = checked;
  }

  /** Why rules cannot compare stamps here; `undefined` where they can. Changes nothing. */
  flaw(): Promise<string | undefined> {
    return this.#program.matchFlaw(STAMP_MATCH);
  }

  /** Runs `install`, which writes these stamps with all else; without them, no rule can compare any. */
  async installWith(
    install: (stamps: (() => readonly KnockStamp[]) | undefined) => Promise<void>,
  ): Promise<void> {
    this.#canCompare = await this.flaw() === undefined;
    await this.#inTurn(() => install(this.#canCompare ? this.#stamps : undefined));
  }

  /** Puts the stamps of now in place of those that stand. */
  restamp(): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#canCompare) return;
      const families = await this.#program.families();
      const stamps = this.#stamps();
      const restore = () =>
        allEnded(families.map((each) => this.#program.restore(each, renderStamps(each, stamps))));
      await this.#checked.ownChange(restore, families.length);
    });
  }

  /** Waits for the write before: of two at a time, the older stamps could come out last. */
  #inTurn(write: () => Promise<void>): Promise<void> {
    return this.#writing = this.#writing.catch(() => {}).then(write);
  }
}
