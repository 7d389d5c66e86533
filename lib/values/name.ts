/** Names of clients, profiles and port groups. */

/** Safe in a path, a log line, a terminal and a shell. */
export const NAME_PATTERN = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/;
