/**
 * openme with something else in the place of its taker, or in it: `serve` from source starts its own main module again,
 * which is this file. `$HOME/taker` names the part to play. Outcomes go to standard error, which the keeper logs.
 */

/** Each is something that a taker must not be able to do. */
function attempts(home: string): Record<string, () => unknown> {
  const own = new URL(import.meta.url);
  const bytes = Uint8Array.of(1);
  const node = <T>(name: string) => import(name) as Promise<T>;
  const allowed: Deno.PermissionDescriptor[] = [
    ...(["read", "write", "net", "env", "run", "ffi", "sys"] as const).map((name) => ({ name })),
    { name: "net", host: "127.0.0.1" },
    { name: "read", path: home },
  ];
  return {
    "run a program": () => new Deno.Command("/bin/true").output(),
    "run one by node:child_process": async () => {
      const { spawnSync } = await node<typeof import("node:child_process")>("node:child_process");
      const { error } = spawnSync("/bin/true");
      if (error) throw error;
    },
    "signal its parent": () => Deno.kill(Deno.ppid, "SIGKILL"),
    "signal its parent by node:process": async () => {
      const { kill } = await node<typeof import("node:process")>("node:process");
      kill(Deno.ppid, "SIGKILL");
    },
    "read the configuration": () => Deno.readTextFile(`${home}/server.yaml`),
    "read the configuration by node:fs": async () => {
      const { readFileSync } = await node<typeof import("node:fs")>("node:fs");
      readFileSync(`${home}/server.yaml`);
    },
    "read the state": () => Deno.readFile(`${home}/state/state.db`),
    "read it by node:sqlite": async () => {
      const { DatabaseSync } = await node<typeof import("node:sqlite")>("node:sqlite");
      new DatabaseSync(`${home}/state/state.db`).exec("SELECT 1");
    },
    "read /etc/shadow": () => Deno.readTextFile("/etc/shadow"),
    "read /etc/passwd": () => Deno.readTextFile("/etc/passwd"),
    "read /proc/self/status": () => Deno.readTextFile("/proc/self/status"),
    "read its own source": () => Deno.readTextFile(own),
    "import a file": () => import(new URL("./foreign.ts", own).href + `?${Date.now()}`),
    "start a worker from a file": () =>
      new Promise((resolve, reject) => {
        const worker = new Worker(own, { type: "module" });
        worker.onmessage = resolve;
        worker.onerror = (event) => {
          event.preventDefault();
          reject(new Deno.errors.NotCapable(event.message));
        };
      }),
    "list a folder": () => Deno.readDirSync("/").next(),
    "write in the state directory": () => Deno.writeFile(`${home}/state/mine`, bytes),
    "write the state": () => Deno.writeFile(`${home}/state/state.db`, bytes, { append: true }),
    "write in /tmp": () => Deno.writeFile("/tmp/openme-taker-was-here", bytes),
    "make a temporary file": () => Deno.makeTempFile(),
    "write in /dev/shm": () => Deno.writeFile("/dev/shm/openme-taker-was-here", bytes),
    "make a folder": () => Deno.mkdir("/run/openme-taker-was-here"),
    "remove the configuration": () => Deno.remove(`${home}/server.yaml`),
    "open another UDP socket": () => Deno.listenDatagram({ transport: "udp", port: 0 }),
    "listen on a TCP port": () => Deno.listen({ port: 0 }),
    "serve HTTP": () => Deno.serve({ port: 0, onListen: () => {} }, () => new Response()),
    "connect to this host": () => Deno.connect({ hostname: "127.0.0.1", port: 22 }),
    "connect out": () => Deno.connect({ hostname: "10.0.0.2", port: 22 }),
    "fetch": () => fetch("http://10.0.0.2/"),
    "resolve a name": () => Deno.resolveDns("example.org", "A"),
    "connect to the control socket": () =>
      Deno.connect({ transport: "unix", path: `${home}/state/control.sock` }),
    "load a library": () => Deno.dlopen("libc.so.6", { getpid: { parameters: [], result: "i32" } }),
    "read the environment": () => Deno.env.get("PATH"),
    "read all of it": () => Deno.env.toObject(),
    "write the environment": () => Deno.env.set("PATH", "/tmp"),
    "ask for its user": () => Deno.uid(),
    "become another user": async () => {
      const { setuid } = await node<typeof import("node:process")>("node:process");
      setuid!(0);
    },
    "get its permissions back": async () => {
      for (const each of allowed) {
        const { state } = await Deno.permissions.request(each);
        if (state === "granted") return;
      }
      throw new Deno.errors.NotCapable();
    },
  };
}

/** Once the permissions are gone: says what could be tried, and what was refused for another reason, or not at all. */
async function probe(home: string): Promise<void> {
  const isRefused = (error: unknown) =>
    error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.PermissionDenied ||
    /Requires \w+ access|Operation not permitted/.test(String(error));
  const others: Record<string, string> = {};
  let tried = 0;
  for (const [what, attempt] of Object.entries(attempts(home))) {
    tried++;
    try {
      await attempt();
      others[what] = "done";
    } catch (error) {
      if (!isRefused(error)) others[what] = String(error).slice(0, 80);
    }
  }
  const line = `probe tried=${tried} others=${JSON.stringify(others)}\n`;
  Deno.stderr.writeSync(new TextEncoder().encode(line));
}

async function isNarrowed(): Promise<boolean> {
  return (await Deno.permissions.query({ name: "read" })).state !== "granted";
}

if (Deno.args[0] === "__taker") {
  const home = Deno.env.get("HOME")!;
  const part = Deno.readTextFileSync(`${home}/taker`);
  if (part === "probe" || part === "hangs") {
    const timer = setInterval(async () => {
      if (!await isNarrowed()) return;
      clearInterval(timer);
      if (part === "probe") return await probe(home);
      setTimeout(() => {
        while (true);
      }, 1000);
    }, 100);
  } else if (part === "floods") {
    const { networkNamespace } = await import("../../lib/separate/namespace.ts");
    const { flood } = await import("../attack/hostile_taker.ts");
    await flood(networkNamespace());
  }
}
await import("../../main.ts");
