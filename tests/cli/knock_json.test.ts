/** What `knock` and `status` print with --json where nothing opens; `e2e/connecting.test.ts` has the rest. */

import assert from "node:assert/strict";
import { profilesYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { freeUdpPort, mapSome, openme } from "./program.ts";

Deno.test("knock and status --json print what came of it also where nothing opened", async () => {
  await using folder = await Folder.create();
  const file = await folder.write("client.yaml", profilesYaml({ home: { port: freeUdpPort() } }));
  const head = { profile: "home", host: "127.0.0.1" };
  const sent = [{ address: "127.0.0.1", failure: null }];
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const closed = await Deno.listen({ hostname: "127.0.0.1", port: 0 });
  closed.close();
  const wait = (at: number) => ["knock", "--wait", `${at}/tcp`];
  const opened = { address: "127.0.0.1", ports: [`${port}/tcp`] };
  const check = ["--check", "--health-port", `${closed.addr.port}`];
  const rows = [
    { args: ["knock"], code: 0, printed: { ...head, sent } },
    { args: wait(port), code: 0, printed: { ...head, sent, opened } },
    { args: wait(closed.addr.port), code: 3, printed: { ...head, sent, opened: null } },
    { args: ["knock", ...check], code: 3, printed: { ...head, sent, checked: null } },
    { args: [...wait(port), ...check], code: 3, printed: { ...head, sent, opened, checked: null } },
    {
      args: ["status", "--knock", ...check.slice(1)],
      code: 3,
      printed: { ...head, answers: [] },
    },
  ];
  const results = await mapSome(rows, ({ args, code }) => {
    const timeout = code === 0 && args.length === 1 ? [] : ["--timeout", code === 0 ? "15s" : "2s"];
    return openme([...args, ...timeout, "--json", "--client-config", file]);
  });
  listener.close();
  for (const [i, { args, code, printed }] of rows.entries()) {
    const result = results[i]!;
    assert.equal(result.code, code, `${args.join(" ")}: ${result.stderr}`);
    assert.deepEqual(JSON.parse(result.stdout), printed, args.join(" "));
  }
});
