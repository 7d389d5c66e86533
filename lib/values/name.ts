/** Names of clients, profiles and groups of ports. */

/** What names of clients, groups and profiles look like: safe in a path, a log line, a terminal and a shell. */
export const NAME_PATTERN = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/;
