/** What keeps `openme serve` from beginning, and what it says then. */

import assert from "node:assert/strict";
import { failure, mapSome } from "../program.ts";
import { Site } from "./site.ts";

Deno.test("openme serve touches no firewall where it cannot begin", async () => {
  await using site = await Site.create();
  const { folder } = site;
  const taken = Deno.listenDatagram({ transport: "udp", hostname: "::", port: 0 });
  const takenPort = (taken.addr as Deno.NetAddr).port;
  try {
    await folder.write(
      "taken.yaml",
      site.yaml().replace(/udp_port: \d+/, `udp_port: ${takenPort}`),
    );
    await folder.write("open.yaml", site.yaml(), 0o604);
    await folder.write("file", "");
    for (const name of ["lock_damaged", "newer", "no_database"]) {
      await Deno.mkdir(folder.file(name));
    }
    await folder.write("lock_damaged/lock", "not a lock".repeat(100));
    await Deno.symlink("nowhere/state.db", folder.file("no_database/state.db"));
    await makeNewer(folder.file("newer"));
    const rows = [
      {
        args: ["--config", "missing.yaml"],
        error: `cannot load "missing.yaml": there is no such file`,
        hint: "make one: openme init --server HOST",
      },
      {
        args: ["--config", "open.yaml"],
        error:
          `cannot load "open.yaml": it holds private keys, expected a mode such as 0600 or 0640, got 0604`,
        hint: "chmod o= open.yaml, and make new keys if others may have read it",
      },
      {
        args: ["--config", "taken.yaml"],
        error: `cannot listen on UDP port ${takenPort}: another program has it`,
        hint: `see which: ss -ulpn 'sport = :${takenPort}'`,
      },
      {
        args: ["--state-dir", "file/state"],
        error: /^cannot make the state directory "file\/state": Not a directory/,
        hint: "run openme as root, or choose another folder with --state-dir",
      },
      {
        args: ["--state-dir", "lock_damaged"],
        error: `cannot lock "lock_damaged/lock": file is not a database`,
        hint: "the file holds nothing: remove it if it is damaged",
      },
      {
        args: ["--state-dir", "newer"],
        error: `cannot use "newer/state.db": a newer openme made it`,
        hint: "run that version, or move the file away",
      },
      {
        args: ["--state-dir", "no_database"],
        error: /^cannot open the state database "no_database\/state\.db": unable to open database/,
        hint:
          "openme must be able to write there: run it as root, or choose another folder with --state-dir",
      },
    ];
    // One after the other: some get as far as to the port.
    for (const { args, error, hint } of rows) {
      const result = await site.run(args);
      if (typeof error === "string") assert.deepEqual(result, failure(1, error, hint));
      else {
        const [first, ...others] = result.stderr.split("\n");
        assert.match(first!.replace("openme: error: ", ""), error);
        assert.deepEqual(
          { ...result, stderr: others.join("\n") },
          { code: 1, stdout: "", stderr: `openme: hint: ${hint}\n` },
        );
      }
    }
    assert.equal(await site.asked(), "");
  } finally {
    taken.close();
  }
});

Deno.test("openme serve takes no state directory that others may write, and closes its own to readers", async () => {
  await using site = await Site.create();
  const { folder } = site;
  const HINT =
    "see that no other user has put anything there, then chmod 0700 it; or choose another with --state-dir";
  for (const mode of [0o777, 0o1777, 0o720, 0o702]) {
    await Deno.mkdir(folder.file("open"), { recursive: true });
    await Deno.chmod(folder.file("open"), mode);
    const shown = mode.toString(8).padStart(4, "0");
    assert.deepEqual(
      await site.run(["--state-dir", "open"]),
      failure(
        1,
        `cannot use the state directory "open": expected the mode 0700, got ${shown}: others may write there`,
        HINT,
      ),
    );
    assert.equal(await folder.mode("open"), mode, "it stays as it was");
  }
  assert.deepEqual(await Array.fromAsync(Deno.readDir(folder.file("open"))), []);
  assert.equal(await site.asked(), "");
  if (Deno.uid() === 0) {
    await Deno.chmod(folder.file("open"), 0o700);
    // A user namespace may have one user only; what is root's outside belongs to user 65534 there.
    const [others, owner] = await Deno.chown(folder.file("open"), 12345, 0)
      .then(() => ["open", 12345], () => ["/", 65534]);
    const result = await site.run(["--state-dir", String(others)]);
    const expected = "expected a folder of this user (0), got one of user " + owner;
    assert.ok(
      result.stderr.startsWith(
        `openme: error: cannot use the state directory "${others}": ${expected}\n`,
      ),
      result.stderr,
    );
    assert.equal(result.code, 1);
  }
  for (const [name, others, mode] of [["own", [], 0o700], ["shared", ["notes"], 0o755]] as const) {
    await Deno.mkdir(folder.file(name));
    await folder.write(`${name}/lock`, "");
    for (const other of others) await folder.write(`${name}/${other}`, "");
    await Deno.chmod(folder.file(name), 0o755);
    await using program = await site.start(["--state-dir", name]);
    assert.equal(await folder.mode(name), mode);
    assert.equal(await folder.mode(`${name}/state.db`), 0o600);
    assert.equal((await program.kill("SIGTERM")).code, 0);
  }
});

async function makeNewer(dir: string): Promise<void> {
  const { DatabaseSync } = await import("node:sqlite");
  const database = new DatabaseSync(`${dir}/state.db`);
  database.exec("PRAGMA user_version = 1000");
  database.close();
}

Deno.test("openme serve tells what the firewall says where that fails", async () => {
  const HINT = /^openme: hint: see whether nft works here by itself/;
  const rows = [
    {
      nft: "echo 'Error: syntax error, unexpected junk' >&2; exit 3",
      error: /^nft .+ failed with exit code 3: Error: syntax error, unexpected junk$/,
      hint: HINT,
    },
    {
      nft: "printf 'netlink: Operation not permitted\\n\\033[2Jmore\\n' >&2; exit 1",
      error: /^nft .+ failed with exit code 1: netlink: Operation not permitted; \\u001b\[2Jmore$/,
      hint: /^openme: hint: run openme as root, or give it the capability CAP_NET_ADMIN$/,
    },
    { nft: "kill -TERM $$", error: /^nft .+ was ended by SIGTERM$/, hint: HINT },
    { nft: `[ "$1" != -f ] || exit 1`, error: /^nft -f - failed with exit code 1$/, hint: HINT },
    {
      nft: `[ "$1" != --json ] || { echo nonsense; exit 0; }`,
      error: /^cannot read what nft lists of this host's rules$/,
      hint: /nftables 1\.0 or newer$/,
    },
  ];
  const results = await mapSome(rows, async ({ nft }) => {
    await using site = await Site.create({ nft });
    return await site.run();
  });
  for (const [i, { error, hint }] of rows.entries()) {
    const { code, stdout, stderr } = results[i]!;
    assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
    const [first, second, ...more] = stderr.split("\n");
    assert.match(first!, /^openme: error: /);
    assert.match(first!.slice("openme: error: ".length), error);
    assert.match(second!, hint);
    assert.deepEqual(more, [""]);
  }
});
