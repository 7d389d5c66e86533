/** The connection to a real engine: claims, entries, and each way in which an engine can fail. */

import assert from "node:assert/strict";
import { Folder } from "../support/folder.ts";
import { testWith } from "../support/programs.ts";
import { waitFor, within } from "../support/wait.ts";
import { freePort, Host, RealRedis } from "./redis.ts";

testWith(
  ["redis-server"],
  "a claim is one host's, and its own once more; it ends in time",
  async () => {
    await using redis = await RealRedis.start();
    await using one = new Host(redis.port);
    await using other = new Host(redis.port);
    await assert.rejects(one.engine.claim("early", 1000), /does not answer/);
    await Promise.all([one.up(), other.up()]);
    const claims = await Promise.all([one, other].map((host) => host.engine.claim("a", 5000)));
    assert.deepEqual(claims.toSorted(), [false, true]);
    const [first, second] = claims[0] ? [one, other] : [other, one];
    assert.equal(await first.engine.claim("a", 5000), true);
    assert.equal(await second.engine.claim("a", 5000), false);
    assert.equal(await first.engine.claim("short", 30), true);
    await waitFor("its end", () => second.engine.claim("short", 5000));
    assert.equal(await first.engine.claim("short", 5000), false);
    const many = Array.from({ length: 300 }, (_, i) => one.engine.claim(`many${i}`, 5000));
    const settled = await Promise.allSettled(many);
    const refused = settled.filter(({ status }) => status === "rejected").length;
    assert.ok(refused >= 44, `${refused} claims of 300 were refused`);
    assert.match(await redis.send("EXISTS openme:test:claim:a"), /^:1/);
  },
);

testWith(["redis-server"], "entries reach every host, also one that comes later", async () => {
  await using redis = await RealRedis.start();
  await using one = new Host(redis.port);
  await one.up();
  one.engine.publish("first");
  one.engine.publish("x".repeat(901));
  one.engine.publish("second");
  await using late = new Host(redis.port);
  await using other = new Host(redis.port, { name: "another" });
  await Promise.all([late.up(), other.up()]);
  await waitFor("entries", () => one.entries.length === 2 && late.entries.length === 2);
  assert.deepEqual([one.entries, late.entries], [["first", "second"], ["first", "second"]]);
  // A stream that is gone, and an engine's clock that was set back: its numbers are lower.
  await redis.send("DEL openme:test:stream", "XADD openme:test:stream 1-1 e ancient");
  await waitFor("the stream is read anew", async () => {
    await redis.send("DEL openme:test:stream");
    one.engine.publish("third");
    return one.entries.includes("third");
  });
  assert.deepEqual(other.entries, []);
  assert.ok(!one.entries.includes("ancient"));
});

testWith(
  ["redis-server"],
  "an engine that ends or hangs is away, and is found again",
  async (t) => {
    await using redis = await RealRedis.start();
    await using host = new Host(redis.port);
    await host.up();
    await t.step("restarted empty", async () => {
      await redis.stop();
      await host.down(/connection was lost|refuses connections/);
      await assert.rejects(host.engine.claim("a", 1000));
      host.engine.publish("lost");
      await redis.start();
      await host.up();
      assert.equal(await host.engine.claim("a", 1000), true);
    });
    await t.step("paused", async () => {
      redis.signal("SIGSTOP");
      const startMs = performance.now();
      await assert.rejects(host.engine.claim("b", 1000), /does not answer/);
      assert.ok(performance.now() - startMs < 1000);
      await host.down(/does not answer/);
      redis.signal("SIGCONT");
      await host.up();
    });
    await t.step("paused beside many claims", async () => {
      redis.signal("SIGSTOP");
      const names = Array.from({ length: 5 }, (_, i) => `c${i}`);
      await Promise.allSettled(names.map((name) => host.engine.claim(name, 1000)));
      assert.equal(host.engine.state().isUp, false);
      redis.signal("SIGCONT");
      await host.up();
    });
    assert.ok(host.engine.state().roundTripMs! > 0);
  },
);

/** How an engine is made unfit, what is said of it then, and how it is mended. */
const UNFIT: readonly (readonly [spoil: string, why: RegExp, mend: string])[] = [
  ["CONFIG SET maxmemory 1", /full \(maxmemory\)/, "CONFIG SET maxmemory 0"],
  ["REPLICAOF 127.0.0.1 1", /replica|busy/, "REPLICAOF NO ONE"],
  ["SET openme:test:stream 1", /something else is stored/, "DEL openme:test:stream"],
  ["ACL SETUSER default -xread", /may not use/, "ACL SETUSER default +xread"],
];

testWith(["redis-server"], "an engine that takes no commands is away until it does", async () => {
  await Promise.all(UNFIT.map(async ([spoil, why, mend]) => {
    await using redis = await RealRedis.start();
    await using host = new Host(redis.port);
    await host.up();
    assert.match(await redis.send(spoil), /OK/);
    await host.down(why);
    await assert.rejects(host.engine.claim("a", 1000));
    await redis.send(mend);
    await host.up();
    // A busy machine may take longer than a claim has.
    await waitFor("the claim", () => host.engine.claim("a", 1000).catch(() => false));
  }));
});

testWith(
  ["redis-server"],
  "a password that is wrong or missing is said, and never shown",
  async () => {
    await using redis = await RealRedis.start("--requirepass", "hunter2 /x");
    const url = (word: string) => `redis://:${word}@127.0.0.1:${redis.port}/3`;
    await using right = new Host(redis.port, { url: url("hunter2%20%2Fx") });
    await using wrong = new Host(redis.port, { url: url("secret") });
    await using none = new Host(redis.port);
    await Promise.all([right.up(), wrong.down(/password/), none.down(/password/)]);
    assert.doesNotMatch(JSON.stringify([wrong.states, none.states]), /secret|127|redis:/);
  },
);

testWith(["redis-server"], "no engine at all is said, and closing waits for nothing", async () => {
  await using nowhere = new Host(freePort());
  await using nameless = new Host(1, { url: "redis://no-such-host.invalid:1" });
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const hanging = new Host(silent.addr.port);
  await Promise.all([nowhere.down(/refuses connections/), nameless.down(/name is not found/)]);
  assert.equal(await within(hanging.engine.close(), 1000, "late"), undefined);
});

testWith(
  ["redis-server", "openssl"],
  "TLS: the certificate must be signed by a trusted one, for the host's name",
  async () => {
    await using folder = await Folder.create();
    const openssl = async (...args: string[]) => {
      const { success, stderr } = await new Deno.Command("openssl", { args, cwd: folder.path })
        .output();
      assert.ok(success, new TextDecoder().decode(stderr));
    };
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    for (const name of ["ca", "strange"]) {
      const names = ["-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.pem`];
      await openssl("req", "-x509", ...key, ...names);
    }
    await openssl(
      "req",
      ...key,
      "-subj",
      "/CN=engine",
      "-keyout",
      "engine.key",
      "-out",
      "engine.csr",
    );
    await folder.write("names", "subjectAltName=DNS:localhost\n");
    const by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"];
    await openssl("x509", "-req", "-in", "engine.csr", ...by, "-out", "engine.pem");
    await using redis = await RealRedis.start(
      ...["--port", "0", "--tls-port", "PORT", "--tls-auth-clients", "no"],
      ...[
        "--tls-cert-file",
        folder.file("engine.pem"),
        "--tls-key-file",
        folder.file("engine.key"),
      ],
      ...["--tls-ca-cert-file", folder.file("ca.pem")],
    );
    const url = `rediss://localhost:${redis.port}`;
    const [trust, strange] = await Promise.all(
      ["ca.pem", "strange.pem"].map((name) => folder.read(name)),
    );
    await using right = new Host(redis.port, { url, trust });
    await using wrong = new Host(redis.port, { url, trust: strange });
    await using untrusted = new Host(redis.port, { url });
    const otherName = { url: `rediss://127.0.0.1:${redis.port}`, trust };
    await using renamed = new Host(redis.port, otherName);
    await using plain = new Host(redis.port);
    await right.up();
    assert.equal(await right.engine.claim("a", 1000), true);
    await Promise.all([wrong, untrusted, renamed].map((host) => host.down(/certificate/)));
    await plain.down(/lost|protocol|does not answer/);
  },
);
