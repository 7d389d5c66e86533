/** The version of this openme; a release's tag must be the same. */
export const VERSION = "0.1.0";
