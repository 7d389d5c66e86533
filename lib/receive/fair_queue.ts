/** A bounded queue of lanes that take turns: a sender who fills it waits behind its own items, and delays no other. */

interface Lane<T> {
  readonly items: T[];
}

/** How many lanes are compared when an item has to be given up. */
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
   * Adds an item to its lane. Where there is no room, an item is given up and returned: the oldest of the own lane if
   * that is full, else the oldest of a long lane, else the new one.
   */
  push(lane: string, item: T): T | undefined {
    const own = this.#lanes.get(lane);
    if (own && own.items.length >= this.#perLane) {
      own.items.push(item);
      return own.items.shift();
    }
    let given: T | undefined;
    if (this.#size >= this.#capacity) {
      const longest = this.#longLane(own);
      if (!longest) return item;
      given = longest.items.shift();
      this.#size--;
    }
    if (own) own.items.push(item);
    else this.#lanes.set(lane, { items: [item] });
    this.#size++;
    return given;
  }

  /** The longest of a few lanes, if it has two items: a sender with a single one keeps its place. */
  #longLane(own: Lane<T> | undefined): Lane<T> | undefined {
    let longest = own;
    let looked = 0;
    for (const lane of this.#lanes.values()) {
      if (++looked > LANES_LOOKED_AT) break;
      if (lane.items.length > (longest?.items.length ?? 1)) longest = lane;
    }
    return longest && longest.items.length > 1 ? longest : undefined;
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
