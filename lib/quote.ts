/**
 * Text from outside, made fit to print: nothing of it can move a cursor, forge a log line or hide a character.
 */

/** `text` in double quotes, all but printable ASCII escaped as `\uXXXX`, at most `limit` characters of it. */
export function quote(text: string, limit = 80): string {
  const shown = text.length > limit ? text.slice(0, limit) + "..." : text;
  return escapeUnprintable(JSON.stringify(shown));
}

/** All but printable ASCII replaced by `\uXXXX`. */
export function escapeUnprintable(text: string): string {
  return text.replaceAll(
    /[^\x20-\x7e]/g,
    (character) => "\\u" + character.charCodeAt(0).toString(16).padStart(4, "0"),
  );
}
