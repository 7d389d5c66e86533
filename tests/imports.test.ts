/**
 * The law between the folders of `lib/`: who may import whom. Every static, type and `import()` edge counts. Imports
 * point one way, no files form a circle, the client's side reaches nothing of the server's, and what decides touches
 * neither the system nor a clock of its own. docs/architecture.md says why.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const LIB = fileURLToPath(new URL("../lib/", import.meta.url));

/** The contract of a firewall: what every backend and the guard know. */
const CONTRACT = "firewall/contract";
const CONTRACT_FILES = [
  "plan",
  "backend",
  "run",
  "owner",
  "deviations",
  "roll_back",
  "stored_plan",
  "open_ports",
];
const BACKENDS = ["nft", "iptables", "pf", "firewalld", "command"].map((name) =>
  `firewall/${name}`
);
const CHOICE = ["choose", "catalog", "orphans", "none"].map((name) => `firewall/${name}`);
const ANY_FIREWALL = [CONTRACT, "firewall/guard", "firewall/host", ...BACKENDS, ...CHOICE];

/** What each part may import beside itself; one floor a line, the ground first. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  ...parts("values crypto", []),
  ...parts("packet", ["crypto", "values"]),
  ...parts("replay", ["crypto"]),
  ...parts("grants system", ["values"]),
  ...parts("gate", ["packet", "replay", "crypto", "values"]),
  ...parts("state", ["grants", "replay", "crypto", "system", "values"]),
  ...parts(CONTRACT, ["grants", "system", "values"]),
  ...parts("config", [CONTRACT, "crypto", "values"]),
  ...parts("backup", ["values"]),
  ...parts("firewall/guard", [CONTRACT, "grants", "system", "values"]),
  ...parts("firewall/host", [CONTRACT, "system", "values"]),
  ...parts("firewall/pf", [CONTRACT, "system", "values"]),
  ...parts("firewall/firewalld", ["firewall/host", CONTRACT, "system", "values"]),
  ...parts("firewall/nft firewall/iptables firewall/command", [
    ...["firewall/host", CONTRACT, "packet", "grants", "system", "values"],
  ]),
  ...parts(CHOICE.join(" "), [...ANY_FIREWALL, "config", "crypto", "grants", "system", "values"]),
  ...parts("receive", [
    ...["gate", "packet", "replay", "grants", "config", "state", "firewall/guard", CONTRACT],
    ...["crypto", "system", "values"],
  ]),
  ...parts("client", ["config", "packet", "crypto", "system", "values"]),
  ...parts("server", [
    ...["receive", "config", "state", "gate", "replay", "grants", "firewall/guard", CONTRACT],
    ...["crypto", "system", "values"],
  ]),
  ...parts("health", ["server", "grants", "crypto", "system", "values"]),
  ...parts("control", [
    ...["server", "receive", "config", "state", "firewall/guard", "firewall/host", "system"],
    "values",
  ]),
  ...parts("metrics", ["server", "receive", "config", "grants", "system", "values"]),
  ...parts("separate", [
    ...[
      "receive",
      "health",
      "metrics",
      "config",
      "gate",
      "packet",
      "grants",
      "crypto",
      "system",
      "values",
    ],
  ]),
  ...parts("fleet", [
    ...["receive", "separate", "gate", "packet", "config", "state", "crypto", "system", "values"],
  ]),
};
/** Each imports any part of the table, and those before itself. */
const ABOVE = ["cli", "cli/import", "cli/serve", "cli/setup", "cli/commands", "cli/catalog"];

/** Folders and files that decide: bytes, time and randomness come in. */
const PURE = /^(values|crypto|config|packet|gate|replay|grants)(\/|\.ts$)|^firewall\/plan\.ts$/;
const TOUCHING =
  /\b(Deno\.|console\.|performance\.|Date\.now|setTimeout|setInterval|Math\.random|getRandom)/;

/** The server's side, of which the client's may load nothing. */
const SERVER_SIDE =
  /^(state|receive|health|metrics|control|separate|server|gate|replay|backup)(\/|\.ts$)|^firewall\/(?!plan)/;

function parts(names: string, may: readonly string[]): Record<string, readonly string[]> {
  return Object.fromEntries(names.split(" ").map((name) => [name, may]));
}

/** The part of the table that a file belongs to. */
function partOf(file: string): string {
  const [folder, second, ...more] = file.replace(/\.ts$/, "").split("/") as [string, ...string[]];
  if (second === undefined) return folder;
  if (folder === "firewall") {
    return more.length === 0 && CONTRACT_FILES.includes(second) ? CONTRACT : `firewall/${second}`;
  }
  return folder === "cli" && (more.length > 0 || second === "catalog") ? `cli/${second}` : folder;
}

function isAllowed(from: string, to: string): boolean {
  if (from === to) return true;
  const floor = ABOVE.indexOf(from);
  if (floor >= 0) return !ABOVE.includes(to) || ABOVE.indexOf(to) < floor;
  return MAY_IMPORT[from]?.includes(to) ?? false;
}

/** The files of `lib/` that each file of it imports, types included; JSDoc's examples are not its own. */
async function readImports(): Promise<Map<string, readonly string[]>> {
  const imports = new Map<string, readonly string[]>();
  const read = async (folder: string) => {
    for await (const { name, isDirectory } of Deno.readDir(LIB + folder)) {
      const file = `${folder}${name}`;
      if (isDirectory) await read(`${file}/`);
      else if (file.endsWith(".ts")) imports.set(file, importsOf(file, await textOf(file)));
    }
  };
  await read("");
  return imports;
}

async function textOf(file: string): Promise<string> {
  return await Deno.readTextFile(LIB + file);
}

function importsOf(file: string, text: string): string[] {
  const code = text.replaceAll(/^ *\*.*$/gm, "");
  return [...code.matchAll(/(?:from|import|import\()\s*"(\.[^"]+)"/g)].map(([, path]) =>
    new URL(path!, `file:///${file}`).pathname.slice(1)
  );
}

/** Everything that is loaded with a file, sooner or later. */
function closureOf(file: string, imports: ReadonlyMap<string, readonly string[]>): Set<string> {
  const seen = new Set([file]);
  for (const each of seen) for (const next of imports.get(each) ?? []) seen.add(next);
  return seen;
}

const IMPORTS = await readImports();

Deno.test("every import is one that the table allows", () => {
  assert.ok(IMPORTS.size > 100);
  const forbidden: string[] = [];
  for (const [file, imported] of IMPORTS) {
    for (const each of imported) {
      assert.ok(IMPORTS.has(each), `${file} imports ${each}, which is not there`);
      if (!isAllowed(partOf(file), partOf(each))) forbidden.push(`${file} -> ${each}`);
    }
  }
  assert.deepEqual(forbidden, []);
});

Deno.test("every part of the table is there, and stands above what it imports", () => {
  const there = new Set([...IMPORTS.keys()].map(partOf));
  assert.deepEqual(Object.keys(MAY_IMPORT).filter((part) => !there.has(part)), []);
  const order = Object.keys(MAY_IMPORT);
  for (const [part, may] of Object.entries(MAY_IMPORT)) {
    if (CHOICE.includes(part)) continue; // these know each other; no circle of files, below
    for (const each of may) {
      assert.ok(order.indexOf(each) < order.indexOf(part), `${part}, ${each}`);
    }
  }
});

Deno.test("no files import each other in a circle", () => {
  const circles = [...IMPORTS.keys()].filter((file) =>
    IMPORTS.get(file)!.some((next) => closureOf(next, IMPORTS).has(file))
  );
  assert.deepEqual(circles, []);
});

Deno.test("the client's side loads nothing of the server's", () => {
  const clients = [...IMPORTS.keys()].filter((file) => file.startsWith("client/"));
  assert.ok(clients.length > 0);
  for (const file of [...clients, "cli/commands/knock.ts", "cli/commands/connect.ts"]) {
    const loaded = [...closureOf(file, IMPORTS)].filter((each) => SERVER_SIDE.test(each));
    assert.deepEqual(loaded, [], file);
  }
});

Deno.test("the library that encrypts backups is loaded when it is called, by one file", async () => {
  const importing: string[] = [];
  for (const file of IMPORTS.keys()) {
    const text = await textOf(file);
    if (text.includes('"age-encryption"')) importing.push(file);
    assert.doesNotMatch(text, /from "age-encryption"/, file);
  }
  assert.deepEqual(importing, ["backup/age.ts"]);
});

Deno.test("what metrics take is loaded for a server that serves them alone", async () => {
  const loaded = new Set(["cli/commands/serve.ts", "cli/commands/taker.ts"]);
  for (const file of loaded) for (const next of await loadedBy(file)) loaded.add(next);
  assert.ok(loaded.has("receive/server_log.ts"));
  assert.deepEqual(
    [...loaded].filter((file) => /^metrics\/|serve\/metrics|system\/http/.test(file)),
    [
      "system/http.ts", // the health port's
    ],
  );
  for (const file of IMPORTS.keys()) {
    assert.doesNotMatch(await textOf(file), /^import (?!type).* from "prom-client/m, file);
  }
});

Deno.test("what an ssh key takes is loaded for a profile of one alone", async () => {
  const loaded = new Set(["cli/commands/knock.ts"]);
  for (const file of loaded) for (const next of await loadedBy(file)) loaded.add(next);
  assert.ok(loaded.has("crypto/signer.ts"));
  assert.deepEqual([...loaded].filter((file) => /ssh|identity|passphrase/.test(file)), []);
  const cipher = [...IMPORTS].filter(([, imported]) => imported.includes("crypto/ssh_cipher.ts"));
  assert.deepEqual(cipher.map(([file]) => file), ["config/ssh_private_key.ts"]);
  assert.doesNotMatch(await textOf("config/ssh_private_key.ts"), /from "[^"]*ssh_cipher/);
});

Deno.test("a server without a fleet loads nothing of one, and its library is one file's", async () => {
  const loaded = new Set(["cli/commands/serve.ts"]);
  for (const file of loaded) for (const next of await loadedBy(file)) loaded.add(next);
  assert.ok(loaded.has("server.ts"));
  assert.deepEqual([...loaded].filter((file) => file.startsWith("fleet/")), []);
  const importing: string[] = [];
  for (const file of IMPORTS.keys()) {
    if ((await textOf(file)).includes('"iovalkey"')) importing.push(file);
  }
  assert.deepEqual(importing, ["fleet/library.ts"]);
});

Deno.test("the root of lib/ holds the five files that an auditor opens first", () => {
  const root = [...IMPORTS.keys()].filter((file) => !file.includes("/")).sort();
  assert.deepEqual(root, ["gate.ts", "grants.ts", "packet.ts", "replay.ts", "server.ts"]);
});

Deno.test("the catalog of backends loads none of them until it makes one", async () => {
  const code = await textOf("firewall/catalog.ts");
  const imports = code.match(/^import\b.*$/gm) ?? [];
  assert.ok(imports.length > 0);
  assert.deepEqual(imports.filter((each) => !each.startsWith("import type {")), []);
  assert.deepEqual(code.match(/^(export .* from|await )/gm), null);
});

Deno.test("what decides touches no system, no clock and no randomness", async () => {
  const pure = [...IMPORTS.keys()].filter((file) => PURE.test(file));
  assert.ok(pure.length > 20);
  for (const file of pure) {
    const code = (await textOf(file)).replaceAll(/\/\*[^]*?\*\/|\/\/[^\n]*/g, "");
    assert.equal(TOUCHING.exec(code)?.[0], undefined, file);
  }
});

/** Where the way from `recv` to the rule begins and ends, with nft. */
const WAY = [
  ...["receive/intake.ts", "server.ts", "firewall/nft/backend.ts"],
  ...["separate/knocks.ts", "separate/taker.ts"],
];
/** Not on the way: read before the first datagram; read when the guard is installed or repaired. */
const BESIDE_THE_WAY = /^(config|firewall\/host)\/|^firewall\/nft\/examine\.ts$/;
/** Lines of all files on the way. Only ever lower this. */
const MOST_LINES_ON_THE_WAY = 7582;

/** The files that a file loads before it does anything: neither types nor `import()`. */
async function loadedBy(file: string): Promise<string[]> {
  const code = (await textOf(file)).replaceAll(/^ *\*.*$/gm, "");
  const values = [...code.matchAll(/^(?:import|export) (\{[^}]*\}|\*) from "(\.[^"]+)";/gm)]
    .filter(([, names]) => names === "*" || /[{,]\s*(?!type )\w/.test(names!));
  return values.map(([, , path]) => new URL(path!, `file:///${file}`).pathname.slice(1));
}

Deno.test("the way from recv to the rule is the one that docs/architecture.md lists, and does not grow", async () => {
  const way = new Set(WAY);
  for (const file of way) {
    for (const next of await loadedBy(file)) if (!BESIDE_THE_WAY.test(next)) way.add(next);
  }
  const lines = await Promise.all(
    [...way].sort().map(async (file) => {
      const count = (await textOf(file)).trimEnd().split("\n").length;
      return { file, count };
    }),
  );
  const sum = lines.reduce((total, { count }) => total + count, 0);
  const table = lines.map(({ file, count }) => `\`lib/${file}\` ${count}`).join(" · ");
  const document = await Deno.readTextFile(new URL("../docs/architecture.md", import.meta.url));
  const section = document.split("## What an auditor reads")[1]!.replaceAll(/\s+/g, " ");
  const listed = new Map(
    [...section.matchAll(/`lib\/([\w/.]+)` (\d+)/g)].map((
      [, file, count],
    ) => [file!, Number(count)]),
  );
  const isListed = lines.length === listed.size &&
    lines.every(({ file, count }) => count <= (listed.get(file) ?? 0));
  const expected = `${lines.length} files, ${sum} lines: ${table}.`;
  assert.ok(isListed, `docs/architecture.md should end with:\n${expected}`);
  assert.ok(sum <= MOST_LINES_ON_THE_WAY, `${sum} lines`);
});
