/**
 * The software bill of materials of a release, as CycloneDX 1.6: the packages of deno.lock and scripts/esbuild.lock, Deno,
 * and the libraries that the portable archives bring. What is not in the program (tests, the bundler) has the scope
 * "excluded".
 */

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { capture } from "../run.ts";
import { ROOT } from "./files.ts";

/** The lock file of Deno, version 5, as far as it is read here. */
export interface Lock {
  readonly npm: Readonly<
    Record<string, { readonly integrity: string; readonly dependencies?: readonly string[] }>
  >;
}

/** A Debian package that is in the portable archives. */
export interface Library {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly sha256: string;
}

/** What the bill is made from. */
export interface Materials {
  readonly version: string;
  readonly epochSeconds: number;
  readonly deno: string;
  readonly lock: Lock;
  readonly bundler: Lock;
  /** The packages that main.ts imports, such as `yaml@2.9.1`. */
  readonly imported: readonly string[];
  /** SPDX expressions, by package. */
  readonly licenses?: Readonly<Record<string, string>>;
  readonly libraries: readonly Library[];
}

/** The bill: the same for the same materials. */
export function billOf(materials: Materials): Record<string, unknown> {
  const { version, epochSeconds, deno, lock, bundler, imported, licenses = {}, libraries } =
    materials;
  const self = `pkg:generic/openme@${version}`;
  const runtime = {
    type: "platform",
    "bom-ref": `pkg:github/denoland/deno@v${deno}`,
    name: "deno",
    version: deno,
    scope: "required",
    licenses: [{ license: { id: "MIT" } }],
    cpe: `cpe:2.3:a:deno:deno:${deno}:*:*:*:*:*:*:*`,
    purl: `pkg:github/denoland/deno@v${deno}`,
  };
  const inside = closure(imported, lock);
  const packages = [lock, bundler].flatMap(({ npm }) =>
    Object.entries(npm).map(([id, { integrity }]) => {
      const { group, name, version } = partsOf(id);
      return {
        type: "library",
        "bom-ref": purlOf(id),
        ...group === undefined ? {} : { group },
        name,
        version,
        scope: inside.has(id) ? "required" : "excluded",
        hashes: [{ alg: "SHA-512", content: hexOf(integrity) }],
        ...licenses[id] === undefined ? {} : { licenses: [{ expression: licenses[id] }] },
        purl: purlOf(id),
      };
    })
  );
  const debian = libraries.map(({ name, version, architecture, sha256 }) => {
    const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${architecture}`;
    return {
      type: "library",
      "bom-ref": purl,
      name,
      version,
      description: "in the portable archives only",
      scope: "optional",
      hashes: [{ alg: "SHA-256", content: sha256 }],
      purl,
    };
  });
  const components = [runtime, ...packages, ...debian];
  const dependencies = [
    { ref: self, dependsOn: [runtime["bom-ref"], ...[...imported].sort().map(purlOf)] },
    ...[lock, bundler].flatMap((each) =>
      Object.keys(each.npm).map((id) => ({
        ref: purlOf(id),
        dependsOn: dependenciesOf(id, each).map(purlOf),
      }))
    ),
  ];
  const bill = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      timestamp: new Date(epochSeconds * 1000).toISOString(),
      component: {
        type: "application",
        "bom-ref": self,
        name: "openme",
        version,
        licenses: [{ license: { id: "MIT" } }],
        purl: self,
      },
    },
    components,
    dependencies,
  };
  const digest = createHash("sha256").update(JSON.stringify(bill)).digest("hex");
  // A UUID of version 8 (RFC 9562): made of the content, so that it is the same again.
  const uuid = /^(.{8})(.{4}).(.{3}).(.{3})(.{12})/.exec(digest)!.slice(1);
  const serialNumber = `urn:uuid:${uuid[0]}-${uuid[1]}-8${uuid[2]}-8${uuid[3]}-${uuid[4]}`;
  return { ...bill, serialNumber };
}

/** These packages and all that they need. */
function closure(ids: readonly string[], lock: Lock): Set<string> {
  const found = new Set<string>();
  const left = [...ids];
  for (let id = left.pop(); id !== undefined; id = left.pop()) {
    if (found.has(id)) continue;
    found.add(id);
    left.push(...dependenciesOf(id, lock));
  }
  return found;
}

/** A lock names a dependency without its version where it has only one of that name. */
function dependenciesOf(id: string, { npm }: Lock): string[] {
  const entry = npm[id];
  if (entry === undefined) throw new Error(`the lock has no ${id}`);
  return (entry.dependencies ?? []).map((name) =>
    name in npm ? name : Object.keys(npm).find((each) => each.startsWith(`${name}@`)) ?? name
  );
}

/** `@noble/hashes@2.4.0` in parts. */
function partsOf(id: string) {
  const [, group, name, version] = /^(?:(@[^/]+)\/)?([^@]+)@(.+)$/.exec(id) ?? [];
  if (name === undefined || version === undefined) throw new Error(`expected NAME@VERSION: ${id}`);
  return { group, name, version };
}

/** The package URL of a package of npm's. */
function purlOf(id: string): string {
  const { group, name, version } = partsOf(id);
  return `pkg:npm/${group === undefined ? "" : `${encodeURIComponent(group)}/`}${name}@${version}`;
}

function hexOf(integrity: string): string {
  const base64 = /^sha512-(.{86}==)$/.exec(integrity)?.[1];
  if (base64 === undefined) throw new Error(`expected a SHA-512, got ${integrity}`);
  return Buffer.from(base64, "base64").toString("hex");
}

/** Writes the bill of this openme, built by this Deno. */
export async function writeBill(
  output: string,
  { version, epochSeconds, libraries }: Pick<Materials, "version" | "epochSeconds" | "libraries">,
): Promise<void> {
  const readLock = async (path: string) => JSON.parse(await Deno.readTextFile(`${ROOT}${path}`));
  const { npmCache } = await denoInfo();
  const { modules, npmPackages } = await denoInfo(`${ROOT}main.ts`);
  const imported = new Set(modules.flatMap(({ npmPackage }) => npmPackage ?? []));
  const licenses: Record<string, string> = {};
  for (const [id, { name, version, registryUrl, localPath }] of Object.entries(npmPackages)) {
    // Deno 2.6 does not say where a package lies.
    const folder = localPath ?? `${npmCache}/${new URL(registryUrl).hostname}/${name}/${version}`;
    const { license } = JSON.parse(await Deno.readTextFile(`${folder}/package.json`));
    if (typeof license === "string") licenses[id] = license;
  }
  const bill = billOf({
    version,
    epochSeconds,
    deno: Deno.version.deno,
    lock: await readLock("deno.lock"),
    bundler: await readLock("scripts/esbuild.lock"),
    imported: [...imported],
    licenses,
    libraries,
  });
  await Deno.writeTextFile(output, `${JSON.stringify(bill, null, 2)}\n`);
}

/** What Deno says of its cache, or of a program. */
async function denoInfo(...program: string[]): Promise<{
  readonly npmCache: string;
  readonly modules: readonly { readonly npmPackage?: string }[];
  readonly npmPackages: Readonly<
    Record<
      string,
      {
        readonly name: string;
        readonly version: string;
        readonly registryUrl: string;
        readonly localPath?: string;
      }
    >
  >;
}> {
  const text = await capture(Deno.execPath(), ["info", "--json", ...program]);
  if (text === undefined) throw new Error(`deno info ${program} failed`);
  return JSON.parse(text);
}
