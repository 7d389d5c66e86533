/** The README's first screen, line by line as it is printed, on a server and a laptop with nothing of openme's. */

import assert from "node:assert/strict";
import { DEFAULT_UDP_PORT } from "../../lib/config/reader.ts";
import { bareEnvironment } from "../cli/program.ts";
import { e2e } from "./e2e.ts";
import { IPV4, type Side } from "./lab.ts";
import { OPENME } from "./openme.ts";

const README = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
const HOST = "vps.example.org";

/** The session: on which side, and what is typed there. */
function session(): { side: Side; line: string }[] {
  const block = /^```console\n([\s\S]*?)^```$/m.exec(README)?.[1] ?? "";
  return [...block.matchAll(/^(vps|laptop)\$ +(.*?)(?: +#.*)?$/gm)].map(([, where, line]) => ({
    side: where === "vps" ? "server" : "client",
    line: line!,
  }));
}

Deno.test("every profile that the README names is one that it has made", () => {
  const named = [...README.matchAll(/openme (?:knock|connect|status) ([a-z]+)\b/g)];
  assert.ok(named.length >= 2);
  for (const { index, 1: name } of named) {
    const before = README.slice(0, index);
    assert.match(before, new RegExp(`openme import \\S+ --as ${name}\\b`), name);
  }
});

Deno.test("the README's first guard is one that a locked-out administrator gets rid of", () => {
  const first = session().find(({ line }) => /openme serve\b/.test(line))!;
  assert.match(first.line, / --confirm \d+s$/);
  assert.equal(session().at(-1)?.line, "sudo openme confirm");
  const screen = README.slice(0, README.indexOf("\n## "));
  assert.ok(screen.includes(`open UDP ${DEFAULT_UDP_PORT} in your provider's firewall`));
});

e2e("the README's session", async (lab) => {
  const server = await lab.agent("server");
  await server.listen({ tcp: [22] });
  const dir = await Deno.makeTempDir({ prefix: "openme-e2e-" });
  try {
    // What the session would write into the machine goes into copies: every command has mounts of its own.
    for (const name of ["bin", "var", "run", "server", "client"]) {
      await Deno.mkdir(`${dir}/${name}`, { recursive: true });
    }
    const script = async (name: string, text: string) => {
      await Deno.writeTextFile(`${dir}/bin/${name}`, `#!/bin/bash\n${text}\n`);
      await Deno.chmod(`${dir}/bin/${name}`, 0o755);
    };
    await script("sudo", 'exec "$@"');
    await script("openme", `exec ${OPENME.map((word) => `'${word}'`).join(" ")} "$@"`);
    // A connection is what the session is about; who logs in is not.
    await script("ssh", 'timeout 1 bash -c "exec 3<>/dev/tcp/$1/22" 2>/dev/null && echo connected');
    // An ordinary user may not read all of it: what nobody else may read stays behind.
    await new Deno.Command("cp", { args: ["-a", "/etc", `${dir}/etc`] }).output();
    await Deno.writeTextFile(`${dir}/etc/hosts`, `${IPV4.server} ${HOST}\n`);
    const bare = await bareEnvironment();
    const command = (side: Side, line: string) => [
      "sh",
      "-c",
      'for at in etc:/etc var:/var/lib run:/run; do mount --bind "$0/${at%%:*}" "${at#*:}" || exit; done; ' +
      'cd "$1" && exec env HOME="$1" sh -c "$2"',
      dir,
      `${dir}/${side}`,
      `export PATH='${dir}/bin:${bare["PATH"]}' DENO_DIR='${bare["DENO_DIR"]}' && exec ${line}`,
    ];
    const lines = session();
    assert.equal(lines.length, 7);
    for (const { side, line } of lines) {
      if (/openme serve\b/.test(line)) {
        await using served = lab.start(side, command(side, line));
        await served.stderr.waitFor(/event=listening/, 15_000);
        const rest = lines.slice(lines.findIndex((each) => each.line === line) + 1);
        const ssh = rest.find((each) => each.line.startsWith("ssh "))!;
        const before = await lab.output(ssh.side, command(ssh.side, ssh.line));
        assert.notEqual(before.code, 0, "the port is open before the knock");
        for (const step of rest) {
          const { code, stdout, stderr } = await lab.output(
            step.side,
            command(step.side, step.line),
          );
          assert.equal(code, 0, `${step.line}: ${stderr}`);
          if (step === ssh) assert.equal(stdout, "connected\n");
          else if (step.side === "client") {
            await served.stderr.waitFor(/event=granted client=laptop/);
          } else await served.stderr.waitFor(/event=confirmed/);
        }
        return;
      }
      const { code, stderr } = await lab.output(side, command(side, line));
      assert.equal(code, 0, `${line}: ${stderr}`);
      if (/ --out laptop\.yaml$/.test(line)) {
        const { mode } = await Deno.stat(`${dir}/server/laptop.yaml`);
        assert.equal(mode! & 0o777, 0o600, "a private key that everyone can read");
        await Deno.rename(`${dir}/server/laptop.yaml`, `${dir}/client/laptop.yaml`);
      }
    }
    assert.fail("the session does not serve");
  } finally {
    await lab.nft("flush ruleset");
    await Deno.remove(dir, { recursive: true });
  }
});
