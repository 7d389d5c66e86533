/** `deno task demo [--offline]`: makes ready what the demo needs, and runs it: `demo_show.ts`. */

import { fileURLToPath } from "node:url";
import { print, run } from "./run.ts";
import { ALLOW_NAMESPACES, setUp, takeOffline } from "./setup/setup.ts";

const { offline, rest } = takeOffline(Deno.args);
if (rest.length > 0) {
  print(`The demo takes --offline, and not ${rest.join(" ")}.`);
  Deno.exit(2);
}
if (Deno.build.os !== "linux") {
  print("The demo needs Linux: run it in a virtual machine or on a server.");
  Deno.exit(1);
}
const ground = await setUp(["nft", "ip", "unshare", "mount"], { offline });
if (ground.missing.length > 0) Deno.exit(1);
if (!ground.namespaces) {
  print(`The demo cannot run here: it ${ALLOW_NAMESPACES}.`);
  Deno.exit(1);
}
const [show, main] = ["./demo_show.ts", "../main.ts"].map((path) =>
  fileURLToPath(new URL(path, import.meta.url))
);
await run(Deno.execPath(), ["cache", "--quiet", show!, main!]); // inside there is no network
Deno.exit(await ground.run([Deno.execPath(), "run", "-A", show!]));
