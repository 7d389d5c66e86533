/**
 * Every fenced block of README.md, CONTRIBUTING.md and docs/*.md, and what becomes of it: the runner of its language runs it, a test
 * that it names does, or it says why none does. A comment directly above a block says so:
 *
 *     <!-- run by tests/e2e/ssh.test.ts -->     that test takes it with {@linkcode blocksUnder}; "A and B": both do
 *     <!-- not run: why -->
 *
 * `text` is nothing that anyone types, and needs no comment.
 */

import assert from "node:assert/strict";
import { basename } from "node:path";

export const ROOT = new URL("../../", import.meta.url).pathname;

/** A fenced block of a document. */
export interface Block {
  /** Such as `docs/ci.md`. */
  readonly document: string;
  readonly line: number;
  /** The heading that it stands under; the title of the document where there is no other. */
  readonly heading: string;
  /** What stands behind the fence; may be empty. */
  readonly language: string;
  readonly text: string;
  /** The tests that run it, by the comment above it. */
  readonly runBy: readonly string[] | undefined;
  /** Why nothing runs it, by the comment above it. */
  readonly notRun: string | undefined;
}

const FENCE = /^ *(`{3,}|~{3,})(.*)$/;
const COMMENT = /^ *<!-- (run by|not run:) (.+) -->$/;

/** The blocks of one Markdown text, in order. */
export function blocksOf(document: string, markdown: string): Block[] {
  const lines = markdown.split("\n");
  const blocks: Block[] = [];
  let heading = "";
  for (let at = 0; at < lines.length; at++) {
    heading = /^#+ (.*)$/.exec(lines[at]!)?.[1] ?? heading;
    const [, fence, language] = FENCE.exec(lines[at]!) ?? [];
    if (fence === undefined) continue;
    const end = lines.findIndex((line, index) => index > at && line.trim() === fence);
    assert.notEqual(end, -1, `${document}:${at + 1}: the block has no end`);
    const above = lines.slice(0, at).findLast((line) => line.trim() !== "") ?? "";
    const [, what, value] = COMMENT.exec(above) ?? [];
    blocks.push({
      document,
      line: at + 1,
      heading,
      language: language!.trim(),
      text: lines.slice(at + 1, end).map((line) => line + "\n").join(""),
      runBy: what === "run by" ? value!.split(" and ") : undefined,
      notRun: what === "not run:" ? value : undefined,
    });
    at = end;
  }
  return blocks;
}

/** Every document that people read, such as `docs/ci.md`. */
export async function allDocuments(): Promise<string[]> {
  const names = (await Array.fromAsync(Deno.readDir(`${ROOT}docs`))).map(({ name }) => name)
    .filter((name) => name.endsWith(".md")).sort();
  return ["README.md", "CONTRIBUTING.md", "SECURITY.md", ...names.map((name) => `docs/${name}`)];
}

/** The blocks of every document. */
export async function allBlocks(): Promise<Block[]> {
  return (await Promise.all((await allDocuments()).map(documentBlocks))).flat();
}

async function documentBlocks(document: string): Promise<Block[]> {
  return blocksOf(document, await Deno.readTextFile(ROOT + document));
}

/**
 * The blocks under one heading that name the calling test. Throws where there is none: a block that was moved is not to
 * go untested in silence.
 */
export async function blocksUnder(
  { document, heading, test }: { document: string; heading: string; test: string },
): Promise<Block[]> {
  const blocks = (await documentBlocks(document)).filter((block) =>
    block.heading === heading && block.runBy?.some((each) => basename(each) === basename(test))
  );
  assert.ok(blocks.length > 0, `${document} has no block under "${heading}" for ${test}`);
  return blocks;
}

/** The languages whose blocks are run without a comment: see tests/documents.test.ts and tests/e2e/documents.test.ts. */
export const RUN_BY_LANGUAGE = ["console", "sh", "ssh_config", "yaml"] as const;

/** What is wrong with how a block says it is run, or `undefined`; `read` gives the text of a file of the repository. */
export async function flawOf(
  { document, heading, language, runBy, notRun }: Block,
  read: (path: string) => Promise<string | undefined>,
): Promise<string | undefined> {
  if (notRun !== undefined) {
    return notRun.length < 15 ? "the reason says too little" : undefined;
  }
  for (const file of runBy ?? []) {
    const test = await read(file);
    if (test === undefined) return `there is no ${file}`;
    const takes = /\bblocksUnder\(/.test(test) &&
      [document, heading].every((each) => test.includes(JSON.stringify(each)));
    if (!takes) return `${file} takes no block of ${document} under "${heading}"`;
  }
  if (runBy !== undefined) return undefined;
  if (language === "text" || (RUN_BY_LANGUAGE as readonly string[]).includes(language)) {
    return undefined;
  }
  return `nothing runs a block of the language "${language}"`;
}
