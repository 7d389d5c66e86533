/** Which firewall `auto` takes where firewalld runs. */

import assert from "node:assert/strict";
import { OpenmeError } from "../../lib/values/errors.ts";
import { chooseBackend, probe } from "../../lib/firewall/choose.ts";
import { createLog } from "../../lib/system/log.ts";
import type { RunProgram } from "../../lib/system/run_program.ts";
import { testWith } from "../support/programs.ts";
import { serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { openme, unprivileged } from "../cli/program.ts";
import { planOf } from "./support.ts";

/** A host with firewalld and nft, and what stands in firewalld's table (Debian 12's has no owner). */
function hostWith(table: string): RunProgram {
  return ({ program }) => {
    if (program === "firewall-cmd") return Promise.resolve("running\n");
    if (program !== "nft") return Promise.reject(new OpenmeError("COMMAND", "no such program"));
    return Promise.resolve(`table inet firewalld { # progname firewalld\n\t${table}\n}\n`);
  };
}

Deno.test("auto takes firewalld where its table takes no rules from others", async () => {
  assert.equal((await probe(hostWith("flags owner,persist"))).name, "firewalld");
  assert.equal((await probe(hostWith("chain x {"))).name, "nft");
});

Deno.test("auto says that firewalld closes nothing by itself", async () => {
  const log = createLog({
    level: "error",
    format: "logfmt",
    now: () => new Date(),
    write: () => {},
  });
  const parts = { run: hostWith("flags owner"), log, stateDir: "/nowhere", command: undefined };
  await assert.rejects(chooseBackend("auto", { ...parts, plan: planOf({ dropPorts: true }) }), {
    code: "FIREWALL",
    hint: /set drop_ports: false/,
  });
});

testWith(["nft", "setpriv"], "who is not root is told of nft first, and to use sudo", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml({ server: ["firewall: auto"] }));
  const { code, stderr } = await openme(["plan", "--config", "server.yaml"], {
    cwd: folder.path,
    through: unprivileged(),
  });
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^openme: error: found no firewall to drive: nft list \w+ failed .*\nopenme: hint: firewalls are root's: try sudo, or give openme the capability CAP_NET_ADMIN\n$/,
  );
});
