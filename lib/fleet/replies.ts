/**
 * Bounds on what an engine replies, before the library reads a byte of it (RESP 2). The library allocates whatever an array's
 * length says and keeps a string until its end, so an engine in an attacker's hands could take all memory.
 */

/** Beyond one of these a reply is refused. */
export const REPLY_BOUNDS = {
  /** Bytes of a line: a type, a length, a number or the text of an error. */
  lineBytes: 1024,
  /** Bytes of one string. */
  stringBytes: 64 * 1024,
  /** Elements of one array. */
  elements: 2048,
  depth: 6,
  /** Bytes of a whole reply. */
  replyBytes: 8 * 1024 * 1024,
} as const;

const CARRIAGE_RETURN = 13;
const NEWLINE = 10;

/** Follows a stream of replies. It keeps no reply, only where in one it is. */
export class ReplyBounds {
  #line = "";
  #lineBytes = 0;
  /** Bytes of a string that are still to come, with its end of line. */
  #stringLeft = 0;
  /** Elements still to come of each array that has begun, the outermost first. */
  #open: number[] = [];
  #replyBytes = 0;
  /** Replies that have ended. */
  replies = 0;

  /** Whether these next bytes keep to the bounds. After `false` nothing more may be read of the stream. */
  takes(bytes: Uint8Array): boolean {
    for (let at = 0; at < bytes.length;) {
      if (this.#stringLeft > 0) {
        const size = Math.min(this.#stringLeft, bytes.length - at);
        at += size;
        this.#stringLeft -= size;
        this.#replyBytes += size;
        if (this.#stringLeft === 0) this.#ended();
        continue;
      }
      const byte = bytes[at++]!;
      this.#replyBytes++;
      if (byte !== NEWLINE) {
        if (++this.#lineBytes > REPLY_BOUNDS.lineBytes) return false;
        // Type and length; the rest of a text matters to the library alone.
        if (this.#line.length < 16) this.#line += String.fromCharCode(byte);
        continue;
      }
      if (!this.#endLine() || this.#replyBytes > REPLY_BOUNDS.replyBytes) return false;
    }
    return true;
  }

  #endLine(): boolean {
    const line = this.#line;
    // The library looks for a carriage return, so a line without one ends elsewhere for it.
    const isWhole = line.length === 16 || line.charCodeAt(line.length - 1) === CARRIAGE_RETURN;
    this.#line = "";
    this.#lineBytes = 0;
    if (!isWhole) return false;
    if ("+-:".includes(line.charAt(0)) && line !== "\r") return this.#ended();
    const [, type, digits] = /^([$*])(-1|\d{1,9})\r$/.exec(line) ?? [];
    if (type === undefined) return false;
    const length = Number(digits);
    if (type === "$" && length >= 0) {
      this.#stringLeft = length + 2;
      return length <= REPLY_BOUNDS.stringBytes;
    }
    if (length <= 0) return this.#ended();
    this.#open.push(length);
    return length <= REPLY_BOUNDS.elements && this.#open.length <= REPLY_BOUNDS.depth;
  }

  /** A value has ended, and with it every array whose last element it was. */
  #ended(): true {
    while (this.#open.length > 0) {
      if (--this.#open[this.#open.length - 1]! > 0) return true;
      this.#open.pop();
    }
    this.#replyBytes = 0;
    this.replies++;
    return true;
  }
}
