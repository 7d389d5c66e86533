/** Whether a guard of openme's stands on this host: another process's, or one that was left. */

import type { Backend } from "./backend.ts";

/** Whether one stands, as far as the backend can tell. */
export async function isGuarding(backend: Backend): Promise<boolean> {
  return await backend.list().then((standing) => standing !== undefined, () => false);
}
