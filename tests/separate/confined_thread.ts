/** Another thread of confined_process.ts. */

import { trySystemCalls } from "./system_calls.ts";

const post = (message: unknown) => (self as unknown as Worker).postMessage(message);
self.addEventListener("message", (event) => post(trySystemCalls((event as MessageEvent).data)));
post("ready");
