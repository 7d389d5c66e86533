/** The software bill of materials names what the locks have, and tells what is in the program from what is not. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { LIBRARIES } from "../scripts/package/glibc.ts";
import { billOf, type Library, type Lock, writeBill } from "../scripts/package/sbom.ts";
import { Folder } from "./support/folder.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const read = async (path: string): Promise<Lock> =>
  JSON.parse(await Deno.readTextFile(ROOT + path));
const LOCK = await read("deno.lock");
const BUNDLER = await read("scripts/esbuild.lock");
const EPOCH = 1_700_000_000;
const LIBC = {
  name: "libc6",
  version: "2.36-9+deb12u14",
  architecture: "amd64",
  sha256: "0".repeat(64),
};

interface Bill {
  readonly serialNumber: string;
  readonly metadata: {
    readonly timestamp: string;
    readonly component: { readonly "bom-ref": string };
  };
  readonly components: readonly {
    readonly group?: string;
    readonly name: string;
    readonly version: string;
    readonly scope: string;
    readonly purl: string;
    readonly "bom-ref": string;
    readonly hashes?: readonly { readonly content: string }[];
    readonly licenses?: readonly unknown[];
  }[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

async function written(libraries: readonly Library[] = [LIBC]): Promise<Bill> {
  await using folder = await Folder.create();
  const file = folder.file("bill.json");
  await writeBill(file, { version: "1.2.3", epochSeconds: EPOCH, libraries });
  return JSON.parse(await Deno.readTextFile(file));
}

Deno.test("the bill has every package of both locks with its sum, Deno and the bundled libraries", async () => {
  const bill = await written();
  const found = new Map(bill.components.map((each) => [
    `${each.group === undefined ? "" : `${each.group}/`}${each.name}@${each.version}`,
    each.hashes?.[0]?.content,
  ]));
  const expected = new Map(
    Object.entries({ ...LOCK.npm, ...BUNDLER.npm }).map(([id, { integrity }]) => [
      id,
      Buffer.from(integrity.slice("sha512-".length), "base64").toString("hex"),
    ]),
  );
  assert.ok(expected.size > 30);
  expected.set("libc6@2.36-9+deb12u14", LIBC.sha256);
  assert.ok(found.delete(`deno@${Deno.version.deno}`));
  assert.deepEqual(new Map([...found].sort()), new Map([...expected].sort()));
  assert.equal(bill.metadata.timestamp, "2023-11-14T22:13:20.000Z");
});

Deno.test("the bill tells what is in the program", async () => {
  const { components } = await written();
  const scopeOf = (id: string) =>
    components.find(({ purl }) => purl.startsWith(`pkg:${id}@`))?.scope;
  for (const name of ["%40noble/ciphers", "fast-png", "fflate", "qr", "yaml"]) {
    assert.equal(scopeOf(`npm/${name}`), "required", name);
  }
  for (const name of ["fast-check", "pure-rand", "esbuild"]) {
    assert.equal(scopeOf(`npm/${name}`), "excluded", name);
  }
  assert.equal(scopeOf("github/denoland/deno"), "required");
  assert.equal(scopeOf("deb/debian/libc6"), "optional");
  for (const { name, scope, licenses } of components) {
    if (scope === "required") assert.equal(licenses?.length, 1, name);
  }
});

Deno.test("the bill has the libraries of the portable archives", async () => {
  const { components } = await written(LIBRARIES);
  const purls = components.map(({ purl }) => purl).filter((purl) => purl.startsWith("pkg:deb/"));
  assert.equal(purls.length, 4);
  for (const name of ["libc6", "libgcc-s1"]) {
    for (const arch of ["amd64", "arm64"]) {
      assert.ok(purls.some((purl) => purl.includes(`/${name}@`) && purl.endsWith(`?arch=${arch}`)));
    }
  }
});

Deno.test("every reference in the bill is to something in it, and the same materials give the same bill", async () => {
  const bill = await written();
  const refs = bill.components.map((each) => each["bom-ref"]);
  assert.equal(new Set(refs).size, refs.length);
  const known = new Set([...refs, bill.metadata.component["bom-ref"]]);
  for (const { ref, dependsOn } of bill.dependencies) {
    for (const each of [ref, ...dependsOn]) assert.ok(known.has(each), each);
  }
  assert.match(
    bill.serialNumber,
    /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/,
  );
  assert.deepEqual(await written(), bill);
  assert.notEqual((await written([])).serialNumber, bill.serialNumber);
});

Deno.test("a lock with another kind of sum, or without a package that main.ts imports, is refused", () => {
  const materials = {
    version: "1.2.3",
    epochSeconds: EPOCH,
    deno: "2.9.6",
    bundler: { npm: {} },
    imported: ["yaml@1.0.0"],
    libraries: [],
  };
  assert.throws(() => billOf({ ...materials, lock: { npm: {} } }), /the lock has no yaml@1\.0\.0/);
  const lock = { npm: { "yaml@1.0.0": { integrity: "sha1-abc=" } } };
  assert.throws(() => billOf({ ...materials, lock }), /expected a SHA-512/);
});
