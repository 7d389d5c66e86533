/** Reading the kernel's socket tables: established connections, whatever text the tables hold. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { formatAddress, parseAddress } from "../../../lib/values/address.ts";
import {
  type Connection,
  establishedConnections,
  parseSocketTable,
} from "../../../lib/firewall/host/sockets.ts";
import type { ProgramRun } from "../../../lib/system/run_program.ts";
import { runProgram } from "../../../lib/system/run_program.ts";
import "../../support/loopback.ts";
import { anyAddress } from "../../support/knocks.ts";
import { ranges } from "../support.ts";

/** As `/proc/net/tcp` and `/proc/net/tcp6` look on a machine with some sessions. */
const TCP =
  `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17021 1 0000000000000000 100 0 0 10 0
   1: 0100007F:0CEA 0100007F:C5A8 01 00000000:00000000 02:000A5C1D 00000000   108        0 30410 2 0000000000000000 20 4 30 10 -1
   2: 050200C0:0016 146433C6:C350 01 00000024:00000000 01:00000014 00000000     0        0 41007 4 0000000000000000 23 4 31 10 17
   3: 050200C0:0016 156433C6:0001 08 00000000:00000001 00:00000000 00000000     0        0 41008 1 0000000000000000 20 4 1 10 -1
   4: 050200C0:1F90 166433C6:FFFF 04 00000000:00000000 01:0000003C 00000000     0        0 0 1 0000000000000000 20 4 1 10 -1
   5: 050200C0:1F90 176433C6:FFFF 05 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 1 10 -1
   6: 050200C0:0016 186433C6:D431 06 00000000:00000000 03:00000BB8 00000000     0        0 0 3 0000000000000000
   7: 050200C0:0016 196433C6:D432 03 00000000:00000000 01:00000064 00000000     0        0 0 1 0000000000000000
   8: 050200C0:0016 1A6433C6:D433 02 00000000:00000000 01:00000064 00000000     0        0 0 1 0000000000000000
`;
const TCP6 =
  `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17023 1 0000000000000000 100 0 0 10 0
   1: B80D0120000000000000000001000000:0016 B80D0120000000000000000007000000:E1F2 01 00000000:00000000 02:0000A6C4 00000000     0        0 41020 2 0000000000000000 20 4 30 10 -1
   2: 0000000000000000FFFF0000050200C0:01BB 0000000000000000FFFF00001B6433C6:E1F3 01 00000000:00000000 02:0000A6C4 00000000     0        0 41021 2 0000000000000000 20 4 30 10 -1
`;

function print({ local, localPort, remote, remotePort }: Connection): string {
  return `${formatAddress(remote)} ${remotePort} > ${formatAddress(local)} ${localPort}`;
}

Deno.test("parseSocketTable() reads what is established, half-closed too, IPv4 in IPv6 as IPv4", () => {
  assert.deepEqual(parseSocketTable(TCP).map(print), [
    "127.0.0.1 50600 > 127.0.0.1 3306",
    "198.51.100.20 50000 > 192.0.2.5 22",
    "198.51.100.21 1 > 192.0.2.5 22",
    "198.51.100.22 65535 > 192.0.2.5 8080",
    "198.51.100.23 65535 > 192.0.2.5 8080",
  ]);
  assert.deepEqual(parseSocketTable(TCP6).map(print), [
    "2001:db8::7 57842 > 2001:db8::1 22",
    "198.51.100.27 57843 > 192.0.2.5 443",
  ]);
  assert.ok(parseSocketTable(TCP6).every(({ local, remote }) => local.family === remote.family));
});

/** An endpoint as the kernel of a little-endian machine writes it. */
function encode(address: Connection["local"], port: number, mapped: boolean): string {
  const bytes = mapped && address.family === 4
    ? Uint8Array.of(...new Uint8Array(10), 0xff, 0xff, ...address.bytes)
    : address.bytes;
  const hex = (byte: number) => byte.toString(16).padStart(2, "0").toUpperCase();
  const words = Array.from(
    { length: bytes.length / 4 },
    (_, i) => [...bytes.subarray(4 * i, 4 * i + 4)].reverse().map(hex).join(""),
  );
  return `${words.join("")}:${port.toString(16).padStart(4, "0").toUpperCase()}`;
}

Deno.test("parseSocketTable() reads every address and port", () => {
  const port = fc.nat(65535);
  fc.assert(
    fc.property(anyAddress, anyAddress, port, port, fc.boolean(), (a, b, here, there, mapped) => {
      fc.pre(a.family === b.family);
      const line = `   7: ${encode(a, here, mapped)} ${
        encode(b, there, mapped)
      } 01 00000000:00000000`;
      const expected = [{ local: a, localPort: here, remote: b, remotePort: there }];
      assert.deepEqual(parseSocketTable(line).map(print), expected.map(print));
    }),
  );
});

Deno.test("parseSocketTable() passes over everything else, and never throws", () => {
  const [, , , good = ""] = TCP.split("\n");
  const rows = [
    "",
    good.replace("050200C0", "050200C"),
    good.replace("050200C0", "05zz00C0"),
    good.replace(":0016", ":016"),
    good.replace(":0016", "0016"),
    good.replace(" 01 ", " 0A "),
    good.replace(" 01 ", " ZZ "),
    good.replace("146433C6", "B80D0120000000000000000007000000"), // families do not mix
    good.split(" ").slice(0, 5).join(" "),
    good.toLowerCase().replace("050200c0", "-50200c0"),
  ];
  for (const row of rows) assert.deepEqual(parseSocketTable(row), [], row);
  assert.equal(parseSocketTable(rows.join("\n") + "\n" + good).length, 1);

  const pieces = fc.constantFrom(
    " ",
    "\n",
    ":",
    "0:",
    "050200C0",
    ":0016",
    "01",
    "0A",
    "zz",
    "\0",
    "é",
  );
  const anyText = fc.oneof(
    fc.string({ unit: "binary", maxLength: 60 }),
    fc.array(pieces, { maxLength: 40 }).map((all) => all.join("")),
  );
  fc.assert(fc.property(anyText, (text) => {
    for (const { local, remote } of parseSocketTable(text)) {
      assert.ok(parseAddress(formatAddress(local)));
      assert.equal(local.family, remote.family);
    }
  }));
});

Deno.test("establishedConnections() keeps those to guarded TCP ports, from both tables", async () => {
  const asked: string[] = [];
  const run = ({ program, args }: ProgramRun) => {
    asked.push([program, ...args].join(" "));
    return Promise.resolve(args[0] === "/proc/net/tcp6" ? TCP6 : TCP);
  };
  const connections = await establishedConnections(
    ranges("22/tcp", "8000-8079/tcp", "8080/udp"),
    run,
  );
  assert.deepEqual(connections.map(print).sort(), [
    "198.51.100.20 50000 > 192.0.2.5 22",
    "198.51.100.21 1 > 192.0.2.5 22",
    "2001:db8::7 57842 > 2001:db8::1 22",
  ]);
  assert.deepEqual(asked.sort(), ["cat /proc/net/tcp", "cat /proc/net/tcp6"]);
  assert.deepEqual(await establishedConnections(ranges("443/udp"), run), []);
});

Deno.test("establishedConnections() makes do with one table, or none", async () => {
  const only = (table: string) => ({ args }: ProgramRun) =>
    args[0] === table ? Promise.resolve(TCP) : Promise.reject(new Error("no such file"));
  const guarded = ranges("22/tcp");
  assert.equal((await establishedConnections(guarded, only("/proc/net/tcp"))).length, 2);
  assert.deepEqual(await establishedConnections(guarded, only("/nothing")), []);
});

Deno.test({
  name: "establishedConnections() finds a real connection, over IPv4 and IPv6",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    for (const hostname of ["127.0.0.1", "::1"]) {
      let listener: Deno.Listener;
      try {
        listener = Deno.listen({ hostname, port: 0 });
      } catch (error) {
        assert.equal(hostname, "::1", String(error)); // a machine without IPv6
        continue;
      }
      const { port } = listener.addr as Deno.NetAddr;
      const client = await Deno.connect({ hostname, port });
      const server = await listener.accept();
      const guarded = [{ protocol: "tcp" as const, first: port, last: port }];
      const local = (client.localAddr as Deno.NetAddr).port;
      const found = await establishedConnections(guarded, runProgram);
      assert.deepEqual(found.map(print), [`${hostname} ${local} > ${hostname} ${port}`]);
      for (const each of [client, server, listener]) each.close();
    }
  },
});
