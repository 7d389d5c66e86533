/** No block of a document goes untested unless it says why; what shows configuration is parsed. */

import assert from "node:assert/strict";
import { allBlocks, allDocuments, type Block, blocksOf, flawOf, ROOT } from "./documents/blocks.ts";
import { parseConfigBlock } from "./documents/yaml.ts";

const BLOCKS = await allBlocks();
const nameOf = ({ document, line, heading }: Block) => `${document}:${line} (${heading})`;
const readFile = (path: string) => Deno.readTextFile(ROOT + path).catch(() => undefined);

Deno.test("every block of README and docs is run by a test, or says why not", async () => {
  assert.ok(BLOCKS.length > 20);
  for (const block of BLOCKS) {
    assert.equal(await flawOf(block, readFile), undefined, nameOf(block));
  }
});

Deno.test("a block that nothing runs is found, and so is a mark that is not true", async () => {
  const flaw = async (comment: string, language = "crontab") => {
    const text = `# Title\n\n## Here\n${comment}\n\`\`\`${language}\nx\n\`\`\`\n`;
    const [block] = blocksOf("docs/x.md", text);
    return await flawOf(block!, (path) => {
      const takes = `await blocksUnder({ document: "docs/x.md", heading: "Here", test: "…" })`;
      return Promise.resolve({ "tests/a.test.ts": takes, "tests/b.test.ts": "" }[path]);
    });
  };
  assert.match(await flaw("") ?? "", /nothing runs a block of the language "crontab"/);
  assert.match(await flaw("", "") ?? "", /nothing runs/);
  assert.match(await flaw("<!-- not run: no -->") ?? "", /says too little/);
  assert.match(await flaw("<!-- run by tests/none.test.ts -->") ?? "", /there is no/);
  assert.match(await flaw("<!-- run by tests/b.test.ts -->") ?? "", /takes no block/);
  assert.equal(await flaw("<!-- not run: it needs a BSD with pf -->"), undefined);
  assert.equal(await flaw("<!-- run by tests/a.test.ts -->"), undefined);
  for (const language of ["console", "yaml", "text"]) {
    assert.equal(await flaw("", language), undefined);
  }
});

for (const block of BLOCKS) {
  if (block.language !== "yaml" || block.runBy !== undefined || block.notRun !== undefined) {
    continue;
  }
  Deno.test(`openme reads the YAML of ${nameOf(block)}`, () => parseConfigBlock(block));
}

/** The files below `folder` whose path ends as given, such as `e2e/guard.test.ts`. */
async function filesNamed(path: string, folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(ROOT + folder)) {
    const each = `${folder}/${name}`;
    if (isDirectory) found.push(...await filesNamed(path, each));
    else if (`/${each}`.endsWith(`/${path}`)) found.push(each);
  }
  return found;
}

Deno.test("documents name files that there are, and tests that are in them", async () => {
  let count = 0;
  for (const document of await allDocuments()) {
    const text = (await Deno.readTextFile(ROOT + document)).replaceAll(/```[^]*?```/g, "");
    for (const paragraph of text.split(/[|]|\n\n/)) {
      let file: string | undefined;
      for (const [, path, title] of paragraph.matchAll(/`([\w./-]+\.ts)`|"([^"\n]+)"/g)) {
        if (path !== undefined) {
          const folders = path.endsWith(".test.ts") ? ["tests"] : ["lib", "tests", "scripts"];
          const found = (await Promise.all(folders.map((each) => filesNamed(path, each)))).flat();
          if (path === "main.ts") continue;
          assert.equal(found.length, 1, `${document} names ${path}: ${found.join(" ") || "none"}`);
          file = found[0]!.endsWith(".test.ts") ? found[0] : undefined;
        } else if (file !== undefined && title !== undefined) {
          const code = (await readFile(file))!.replaceAll(/\s+/g, " ");
          assert.ok(code.includes(title), `${document}: ${file} has no test "${title}"`);
        }
        count++;
      }
    }
  }
  assert.ok(count > 100);
});
