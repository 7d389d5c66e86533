/** What `openme setup` finds out and asks: names of this host, who listens, a client and the way to it. */

import assert from "node:assert/strict";
import { guessHost } from "../../../lib/cli/setup/host_name.ts";
import {
  joinSockets,
  type Listener,
  listenerRows,
  parseHolders,
  parseListeningSockets,
  readPortList,
  sshPorts,
} from "../../../lib/cli/setup/listeners.ts";
import { introduce } from "../../../lib/cli/setup/client.ts";
import { profileName } from "../../../lib/cli/setup/client_command.ts";
import { ask, type Terminal } from "../../../lib/cli/setup/terminal.ts";
import { readClientWishes, readServerWishes } from "../../../lib/cli/setup/wishes.ts";
import type { Arguments } from "../../../lib/cli/context.ts";
import { OTHER_PUBLIC } from "../../support/server_yaml.ts";
import { OpenmeError } from "../../../lib/values/errors.ts";

/** A person who types these lines, and what is shown. */
function typing(...lines: string[]): Terminal & { shown: () => string } {
  let shown = "";
  return {
    show: (text) => shown += text,
    readLine: () => Promise.resolve(lines.shift()),
    shown: () => shown,
  };
}

function given(values: Arguments["values"]): Arguments {
  return { values, positionals: [] };
}

const TCP =
  `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100
   1: 0100007F:0277 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100
   2: 0100000A:0016 0200000A:C350 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100
`;
const TCP6 =
  `  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4714 1 0
`;
const LISTENERS: Listener[] = [
  { protocol: "tcp", port: 22, programs: ["sshd"], isRoots: true, addresses: ["0.0.0.0", "::"] },
  { protocol: "tcp", port: 8443, programs: ["nginx"], isRoots: true, addresses: ["0.0.0.0"] },
  { protocol: "udp", port: 8443, programs: ["nginx"], isRoots: true, addresses: ["0.0.0.0"] },
];

Deno.test("who listens: sockets of the kernel's tables with the programs that hold them, the loopback left out", () => {
  const sockets = [TCP, TCP6].flatMap((text) =>
    parseListeningSockets(text, { protocol: "tcp", state: "0A" })
  );
  const holders = parseHolders("/proc/714/fd socket:[4711]\n/proc/714/fd socket:[4714]\nx\n");
  assert.deepEqual([...holders], [["4711", [714]], ["4714", [714]]]);
  const listeners = joinSockets(sockets, (inode) => holders.has(inode) ? ["sshd"] : []);
  assert.deepEqual(listeners, [LISTENERS[0]]);
});

Deno.test("a program's name cannot reach the terminal raw", () => {
  const [row] = listenerRows([{ ...LISTENERS[0]!, programs: ["\x1b[2Jsshd"] }]);
  assert.deepEqual(row, ["22/tcp", "\\u001b[2Jsshd", "0.0.0.0 ::"]);
  assert.equal(listenerRows([{ ...LISTENERS[0]!, programs: [] }])[0]![1], "?");
});

Deno.test("the ports to hide by default are those of ssh, however it listens", () => {
  const on = (port: number, ...programs: string[]): Listener => ({
    protocol: "tcp",
    port,
    programs,
    isRoots: true,
    addresses: ["0.0.0.0"],
  });
  assert.deepEqual(sshPorts(LISTENERS, undefined), ["22/tcp"]);
  assert.deepEqual(sshPorts([on(2222, "sshd"), on(80, "nginx")], undefined), ["2222/tcp"]);
  assert.deepEqual(sshPorts([on(22, "systemd"), on(23, "systemd")], undefined), ["22/tcp"]);
  assert.deepEqual(sshPorts([on(22), on(443, "sslh")], 443), ["22/tcp", "443/tcp"]);
  assert.deepEqual(sshPorts([], 22), []);
  // Every user may call a program so.
  const another = { ...on(1500, "sshd"), isRoots: false };
  assert.deepEqual(sshPorts([another, on(2222, "sshd")], undefined), ["2222/tcp"]);
});

Deno.test("readPortList() takes a bare number for the protocols that listen there", () => {
  const read = (text: string) => readPortList(text, LISTENERS);
  assert.deepEqual(read("22"), { ports: ["22/tcp"] });
  assert.deepEqual(read("22, 8443"), { ports: ["22/tcp", "8443/tcp", "8443/udp"] });
  assert.deepEqual(read("8443/tcp 22/tcp"), { ports: ["8443/tcp", "22/tcp"] });
  assert.deepEqual(read("9000"), { ports: ["9000/tcp", "9000/udp"] });
  assert.deepEqual(read("22,ssh"), { wrong: "ssh" });
  assert.deepEqual(read(" , "), { wrong: " , " });
});

Deno.test("guessHost() prefers a full name, but not to the public address of the session", () => {
  const guess = (fullName: string, addresses: string[], session?: string) =>
    guessHost({ fullName, addresses, session });
  const name = "vps.example.org";
  assert.equal(guess(name, ["203.0.113.7"], "203.0.113.7"), name);
  assert.equal(guess(name, ["127.0.1.1"], "203.0.113.7"), "203.0.113.7");
  assert.equal(guess(name, [], "10.0.0.5"), name);
  assert.equal(guess(name, []), name);
  assert.equal(guess("vps", ["127.0.1.1"], "10.0.0.1"), "10.0.0.1");
  for (
    const local of ["vps", "vps.local", "localhost.localdomain", "ip-10-0-0-5.ec2.internal", ""]
  ) {
    assert.equal(guess(local, []), undefined);
  }
});

Deno.test("ask() asks again after a wrong answer, and takes the default for none", async () => {
  const read = (text: string) => {
    if (!/^\d+$/.test(text)) throw new OpenmeError("USAGE", `expected a number, got ${text}`);
    return Number(text);
  };
  const person = typing("\x1b[2J", "", "7");
  assert.equal(await ask("How many", { fallback: undefined, read }, person), 7);
  assert.equal(
    person.shown(),
    "How many:   expected a number, got \\u001b[2J\nHow many: How many: ",
  );
  assert.equal(await ask("How many", { fallback: "5", read }, typing("")), 5);
  await assert.rejects(ask("How many", { fallback: "5", read }, typing()), /setup was stopped/);
});

Deno.test("without a terminal flags and defaults decide, and what cannot be guessed is an error", async () => {
  const names = { fullName: "vps.example.org", addresses: [], session: undefined };
  const guesses = { listeners: LISTENERS, names, ownPort: undefined };
  assert.deepEqual(await readServerWishes(given({}), guesses, undefined), {
    host: "vps.example.org",
    ports: ["22/tcp"],
  });
  assert.deepEqual(
    await readServerWishes(given({ server: "::1", ports: "8443/udp" }), guesses, undefined),
    { host: "::1", ports: ["8443/udp"] },
  );
  const rejects = (values: Arguments["values"], more: object, why: RegExp) =>
    assert.rejects(readServerWishes(given(values), { ...guesses, ...more }, undefined), why);
  await rejects({ server: "a b" }, {}, /--server: expected a host name or an address, got "a b"/);
  await rejects({ ports: "ssh" }, {}, /--ports: expected ports such as "22\/tcp", got "ssh"/);
  await rejects({}, { names: { ...names, fullName: "vps" } }, /cannot tell how clients reach/);
  await rejects({}, { listeners: [] }, /no ssh server listens here/);
});

Deno.test("a person is shown who listens, and asked what is not given", async () => {
  const names = { fullName: "", addresses: [], session: undefined };
  const person = typing("bad name!", "vps.example.org", "", "phone", "telepathy", "qr");
  const guesses = { listeners: LISTENERS, names, ownPort: undefined };
  assert.deepEqual(await readServerWishes(given({}), guesses, person), {
    host: "vps.example.org",
    ports: ["22/tcp"],
  });
  assert.match(person.shown(), /^22\/tcp +sshd +0\.0\.0\.0 ::$/m);
  assert.deepEqual(await readClientWishes(given({}), person), {
    client: "phone",
    way: { by: "screen", showing: "qr" },
  });
  assert.match(person.shown(), /expected ssh, link or qr, got "telepathy"/);
});

Deno.test("how a client gets its profile, by flags", async () => {
  const way = async (values: Arguments["values"]) =>
    (await readClientWishes(given(values), undefined)).way;
  assert.deepEqual(await way({}), { by: "ssh", key: undefined });
  assert.deepEqual(await way({ pubkey: OTHER_PUBLIC }), { by: "ssh", key: OTHER_PUBLIC });
  assert.deepEqual(await way({ link: true }), { by: "screen", showing: "link" });
  assert.deepEqual(await way({ "no-wait": true, out: "a.yaml" }), {
    by: "output",
    key: undefined,
    file: "a.yaml",
  });
  for (
    const wrong of [
      { link: true, qr: true },
      { qr: true, pubkey: OTHER_PUBLIC },
      { out: "a.yaml" },
      { pubkey: "K" },
    ]
  ) {
    await assert.rejects(way(wrong), { code: "USAGE" });
  }
});

Deno.test("the one command for the client, as its user can run it", () => {
  const wishes = { host: "vps.example.org", client: "laptop" };
  const ssh = { by: "ssh", key: undefined } as const;
  const anna = { user: "anna", needsNoPassword: true, home: "/home/anna", sshPort: 22 };
  const knock = "openme import - --as vps && openme knock vps --check --timeout 2m";
  const of = (
    caller: typeof anna | {
      user: undefined;
      needsNoPassword: true;
      home: undefined;
      sshPort: number;
    },
    key?: string,
  ) => introduce({ ...wishes, way: { ...ssh, key } }, caller, []);
  assert.deepEqual(of(anna), {
    add: undefined,
    atClient:
      `ssh anna@vps.example.org sudo openme add laptop | ${knock} && ssh anna@vps.example.org`,
    file: undefined,
  });
  const root = { user: undefined, needsNoPassword: true, home: undefined, sshPort: 2222 } as const;
  assert.equal(
    of(root, "AbC/+=").atClient,
    `ssh -p 2222 root@vps.example.org openme add laptop --pubkey AbC/+= | ${knock} && ssh -p 2222 root@vps.example.org`,
  );
  // Where sudo asks for a password there is no terminal to type it at: the profile waits in a file.
  assert.deepEqual(of({ ...anna, needsNoPassword: false }), {
    add: ["add", "laptop", "--out", "/home/anna/openme-laptop.yaml"],
    atClient:
      `ssh anna@vps.example.org 'cat openme-laptop.yaml && rm openme-laptop.yaml' | ${knock} && ssh anna@vps.example.org`,
    file: "/home/anna/openme-laptop.yaml",
  });
  assert.deepEqual(
    introduce({ ...wishes, way: { by: "screen", showing: "link" } }, anna, ["a", "b"]),
    {
      add: ["add", "laptop", "--ports", "a,b", "--link"],
      atClient: undefined,
      file: undefined,
    },
  );
  assert.deepEqual(["vps.example.org", "203.0.113.7", "::1", "7up.example.org"].map(profileName), [
    "vps",
    ...["server", "server", "server"],
  ]);
});
