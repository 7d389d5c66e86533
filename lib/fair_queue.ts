/** A bounded queue that is served in turn: whoever fills it with much waits behind his own, not others behind him. */

interface Lane<T> {
  readonly items: T[];
}

/** How many lanes are compared when one has to give way. */
const LANES_LOOKED_AT = 16;

/** Items in lanes; each turn takes the oldest item of the next lane. Every operation is O(1). */
export class FairQueue<T> {
  /** In the order of their turns. */
  readonly #lanes = new Map<string, Lane<T>>();
  readonly #capacity: number;
  readonly #perLane: number;
  #size = 0;

  constructor({ capacity, perLane }: { capacity: number; perLane: number }) {
    this.#capacity = capacity;
    this.#perLane = perLane;
  }

  get size(): number {
    return this.#size;
  }

  /**
   * Adds an item to its lane. Where there is no room, what gives way is returned: the oldest of a long lane, its own
   * where that is full.
   */
  push(lane: string, item: T): T | undefined {
    let given: T | undefined;
    const own = this.#lanes.get(lane);
    if (own && own.items.length >= this.#perLane) {
      given = own.items.shift();
      this.#size--;
    } else if (this.#size >= this.#capacity) given = this.#dropFromLongLane(own);
    // Looked up again: the lane that gave way may have been removed.
    const at = this.#lanes.get(lane);
    if (at) at.items.push(item);
    else this.#lanes.set(lane, { items: [item] });
    this.#size++;
    return given;
  }

  /** The oldest of the longest among a few lanes, so that whoever waits with a single item keeps his place. */
  #dropFromLongLane(own: Lane<T> | undefined): T | undefined {
    let longest = own;
    let name: string | undefined;
    let looked = 0;
    for (const [each, lane] of this.#lanes) {
      if (++looked > LANES_LOOKED_AT) break;
      if (longest && lane.items.length <= longest.items.length) continue;
      longest = lane;
      name = each;
    }
    const given = longest?.items.shift();
    this.#size--;
    if (name !== undefined && longest?.items.length === 0) this.#lanes.delete(name);
    return given;
  }

  /** The oldest item of the next lane. */
  shift(): T | undefined {
    const next = this.#lanes.entries().next();
    if (next.done) return undefined;
    const [name, lane] = next.value;
    this.#lanes.delete(name);
    const item = lane.items.shift();
    if (lane.items.length > 0) this.#lanes.set(name, lane); // behind all the others
    this.#size--;
    return item;
  }
}
