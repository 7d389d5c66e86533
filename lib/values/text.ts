/** Text from outside, made safe to print: it cannot move a cursor, forge a log line or hide a character. */

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

/**
 * Removes secrets from an error that repeats what was typed: links, private keys by their name, and base64 as long as a
 * key, padded or cut short by {@linkcode quote}. A path is not mistaken for a key.
 */
export function hideSecrets(text: string): string {
  return text
    .replaceAll(/openme:\/\/[^\s"?]*\?[^\s"]+/g, "openme://(hidden: it may hold a key)")
    .replaceAll(
      /((?:privkey|private_key)\W{1,6})[A-Za-z0-9+/%]{16,}=*/g,
      "$1(hidden: it looks like a key)",
    )
    .replaceAll(/[A-Za-z0-9+/]{42,}(?:={1,2}|(?=\.\.\.))/g, "(hidden: it looks like a key)");
}

/** Whether a text is a profile or a key, typed where the name of a file is expected. */
export function looksLikeSecret(text: string): boolean {
  const trimmed = text.trim();
  return /^openme:\/\/|^\{|\n|client_privkey|private_key/.test(trimmed) ||
    /^(?=.*[A-Z])(?=.*[a-z])(?=.*[0-9+])[A-Za-z0-9+/]{40,}={0,2}$/.test(trimmed);
}
