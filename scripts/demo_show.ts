/**
 * What `deno task demo` shows: the main job, for real. Three hosts in throw-away network namespaces; a port that looks closed, a
 * knock, the port open for one of them, and closed again by the kernel. Nothing outside the namespaces is touched.
 */

import { labMissing } from "../tests/e2e/e2e.ts";
import { IPV4, Lab } from "../tests/e2e/lab.ts";
import { add, init, knock, serve } from "../tests/e2e/openme.ts";
import { waitFor } from "../tests/support/wait.ts";
import { print } from "./run.ts";

const PORT = 22;

async function main(): Promise<number> {
  const missing = await labMissing();
  if (missing !== undefined) {
    print(`The demo cannot run here: it ${missing}.`);
    return 1;
  }
  const dir = await Deno.makeTempDir({ prefix: "openme-demo-" });
  try {
    await using lab = await Lab.create();
    return await show(lab, dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function show(lab: Lab, dir: string): Promise<number> {
  const [server, client, other] = await Promise.all(
    (["server", "client", "other"] as const).map((side) => lab.agent(side)),
  );
  await server!.listen({ tcp: [PORT] });
  print(
    `Three hosts: a server (${IPV4.server}) with a service on TCP port ${PORT}, a laptop and a stranger.\n`,
  );

  print("server$ openme init --server 10.0.0.1");
  const config = await init(lab, dir, ["--server", IPV4.server]);
  // Two seconds instead of thirty, and state in the demo's own folder: nobody likes to wait.
  const text = (await Deno.readTextFile(config)).replace("knock_timeout: 30s", "knock_timeout: 2s")
    .replace("# state_dir: /var/lib/openme", `state_dir: ${dir}/state`);
  await Deno.writeTextFile(config, text);
  print("server$ openme add laptop > laptop.yaml");
  const profile = `${dir}/laptop.yaml`;
  await Deno.writeTextFile(profile, await add(lab, config, "laptop", []), { mode: 0o600 });
  print("server$ openme serve");
  const served = await serve(lab, config);
  print(`        ${served.lines.at(-1)}\n`);

  const outcomes = [
    await expectPort("laptop, before the knock", () => client!.reaches(IPV4.server, PORT), false),
  ];
  print("\nlaptop$ openme knock");
  const knocked = await knock(lab, "client", profile);
  if (knocked.code !== 0) print(knocked.stderr);
  await served.waitForLine(/event=granted/);
  print(`server: ${served.lines.at(-1)}\n`);
  outcomes.push(
    await expectPort("laptop, after the knock", () => client!.reaches(IPV4.server, PORT), true),
    await expectPort("stranger, meanwhile", () => other!.reaches(IPV4.server, PORT), false),
  );
  await waitFor("the port to close", async () => !await client!.reaches(IPV4.server, PORT), {
    timeoutMs: 6000,
    everyMs: 100,
  });
  outcomes.push(
    await expectPort("laptop, 2 s later", () => client!.reaches(IPV4.server, PORT), false),
  );
  await served.stop();
  const good = outcomes.every(Boolean);
  print(good ? "\nThat is all there is to it." : "\nThis is not how it should be.");
  return good ? 0 : 1;
}

async function expectPort(
  who: string,
  reaches: () => Promise<boolean>,
  expected: boolean,
): Promise<boolean> {
  const open = await reaches();
  print(
    `  TCP ${PORT} for the ${who.padEnd(26)} ${open ? "open" : "closed"}${
      open === expected ? "" : "   <- wrong"
    }`,
  );
  return open === expected;
}

Deno.exit(await main());
