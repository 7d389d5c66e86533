/** What `openme setup` does and takes back, as steps and as commands to type. */

import assert from "node:assert/strict";
import { type Found, isSetUp, parseUnits, toBeMade } from "../../../lib/cli/setup/host.ts";
import {
  commandOf,
  inShell,
  keepingSteps,
  lastUndoSteps,
  type Made,
  preparingSteps,
  trialSteps,
  undoSteps,
  UNITS,
} from "../../../lib/cli/setup/steps.ts";
import { parseServerConfig } from "../../../lib/config/server.ts";
import { parseRecord } from "../../../lib/cli/setup/record.ts";
import { serverYaml } from "../../support/server_yaml.ts";

/** A host that has nothing. */
const NOTHING: Found = {
  config: undefined,
  stateDir: "/var/lib/openme",
  units: new Map(),
  hasGuard: false,
};
const UNIT = { isThere: true, isMasked: false, isActive: false, isEnabled: false };

function madeOn(found: Found, there: readonly string[] = []): Made {
  return toBeMade(found, [], (path) => there.includes(path));
}

/** A host with a configuration and both units, in this state. */
function foundWith(unit: Partial<typeof UNIT>, config = ["drop_ports: true"]): Found {
  return {
    ...NOTHING,
    config: parseServerConfig(serverYaml({ server: config }), "server.yaml"),
    units: new Map(UNITS.map((name) => [name, { ...UNIT, ...unit }])),
  };
}

const SERVER = { host: "vps.example.org", ports: ["22/tcp", "8443/tcp"] };
const commands = (...steps: readonly Parameters<typeof commandOf>[0][]) => steps.map(commandOf);

Deno.test("on a host with nothing, all is made, and all of it is taken back", () => {
  const made = madeOn(NOTHING);
  assert.deepEqual(commands(...preparingSteps(made, SERVER)), [
    "openme init --server vps.example.org --ports 22/tcp,8443/tcp --on-stop closed",
    "openme setup --units /etc/systemd/system",
    "systemctl daemon-reload",
  ]);
  assert.deepEqual(commands(...trialSteps("5m", made)), [
    "mkdir -p /run/systemd/system/openme.service.d && printf '%s\\n' '[Service]' ExecStart= " +
    "'ExecStart=openme serve --confirm 5m' Restart=no > /run/systemd/system/openme.service.d/setup.conf",
    "systemctl daemon-reload",
    "systemctl start openme.service",
  ]);
  assert.deepEqual(commands(...keepingSteps(made)), [
    "rm -f /run/systemd/system/openme.service.d/setup.conf",
    "rmdir --ignore-fail-on-non-empty /run/systemd/system/openme.service.d",
    "systemctl daemon-reload",
    "systemctl enable openme.service openme-guard.service",
    "systemctl start openme.service",
  ]);
  assert.deepEqual(commands(...undoSteps(made), ...lastUndoSteps(made)), [
    "systemctl stop openme.service",
    "systemctl disable openme-guard.service openme.service",
    "openme uninstall",
    "systemctl stop openme-guard.service",
    "rm -f /run/systemd/system/openme.service.d/setup.conf /etc/systemd/system/openme.service " +
    "/etc/systemd/system/openme-guard.service /etc/systemd/system/openme-taker.socket " +
    "/etc/systemd/system/openme-taker@.service /etc/systemd/system/openme-fleet.socket " +
    "/etc/systemd/system/openme-fleet@.service",
    "rmdir --ignore-fail-on-non-empty /run/systemd/system/openme.service.d",
    "systemctl daemon-reload",
    "systemctl reset-failed openme.service",
    "rm -f /etc/openme/config.yaml",
    "rm -rf /var/lib/openme",
    "rm -f /etc/openme/setup.json",
    "rmdir --ignore-fail-on-non-empty /etc/openme",
  ]);
});

Deno.test("what was there before stays: a configuration, units, state, a guard, a server that runs", () => {
  const there = ["/etc/openme", "/var/lib/openme"];
  const made = madeOn({ ...foundWith({}), hasGuard: true }, there);
  assert.deepEqual(preparingSteps(made, undefined), []);
  const undo = commands(...undoSteps(made), ...lastUndoSteps(made)).join("\n");
  for (
    const kept of [
      "config.yaml",
      "/var/lib/openme",
      "system/openme.service ",
      "rmdir --ignore-fail-on-non-empty /etc/openme",
    ]
  ) {
    assert.ok(!undo.includes(kept), undo);
  }
  // A server that is not confirmed puts the former guard back; one that is has taken it over.
  assert.doesNotMatch(undo, /uninstall/);
  assert.match(commands(...undoSteps({ ...made, guardBefore: false })).join("\n"), /uninstall/);
  const running = madeOn(foundWith({ isActive: true }), there);
  assert.doesNotMatch(
    commands(...keepingSteps(running), ...undoSteps(running)).join("\n"),
    /stop|start|uninstall/,
  );
});

Deno.test("no reboot starts a server on trial: units that are enabled are disabled until it is confirmed", () => {
  const made = madeOn(foundWith({ isEnabled: true }), ["/etc/openme"]);
  assert.equal(
    commands(...trialSteps("5m", made))[0],
    "systemctl disable openme-guard.service openme.service",
  );
  const enable = "systemctl enable openme.service openme-guard.service";
  assert.ok(commands(...keepingSteps(made)).includes(enable));
  const undo = commands(...undoSteps(made));
  assert.ok(undo.includes(enable));
  assert.ok(!undo.some((each) => each.includes("disable")));
});

Deno.test("a host is set up where a server with clients runs, and starts again with the machine", () => {
  assert.ok(isSetUp(foundWith({ isActive: true, isEnabled: true })));
  assert.ok(!isSetUp(foundWith({ isActive: true })));
  assert.ok(!isSetUp(foundWith({ isEnabled: true })));
  assert.ok(!isSetUp(NOTHING));
  // A guard that has nothing to close would fail at every boot.
  const open = foundWith({ isActive: true, isEnabled: true }, ["drop_ports: false"]);
  assert.deepEqual(madeOn(open).enabled, ["openme.service"]);
});

Deno.test("parseUnits() reads what systemctl show prints", () => {
  const text = `LoadState=loaded
ActiveState=active
UnitFileState=enabled
Id=openme.service

Id=openme-guard.service
LoadState=not-found
ActiveState=inactive
UnitFileState=

Id=openme-taker@setup.service
LoadState=loaded
ActiveState=inactive
UnitFileState=static
`;
  assert.deepEqual(
    parseUnits(text),
    new Map([
      ["openme.service", { isThere: true, isMasked: false, isActive: true, isEnabled: true }],
      ["openme-guard.service", { ...UNIT, isThere: false }],
      ["openme-taker@.service", UNIT],
    ]),
  );
});

Deno.test("inShell() quotes for a POSIX shell", async () => {
  const words = ["a b", "it's", "$HOME", "`x`", "", "plain/1.2:3", "*", "new\nline"];
  const { stdout } = await new Deno.Command("sh", {
    args: ["-c", `printf '%s|' ${inShell(words)}`],
  }).output();
  assert.equal(new TextDecoder().decode(stdout), words.map((word) => `${word}|`).join(""));
});

Deno.test("a record is read as it was written, and nothing else is", () => {
  const made = madeOn(NOTHING);
  const record = { stage: "begun", ...made };
  assert.deepEqual(parseRecord(JSON.stringify(record)), { ...record, earlier: undefined });
  assert.ok(parseRecord(JSON.stringify({ ...record, earlier: made })));
  for (
    const wrong of [
      { stage: "other" },
      { files: ["relative"] },
      { files: "/etc/passwd" },
      { enabled: ["ssh.service"] },
      { stateDir: 1 },
      { folder: "yes" },
      { ranBefore: undefined },
      { earlier: {} },
    ]
  ) assert.equal(parseRecord(JSON.stringify({ ...record, ...wrong })), undefined);
  for (const text of ["", "null", "[]", "1", "{"]) assert.equal(parseRecord(text), undefined);
});
