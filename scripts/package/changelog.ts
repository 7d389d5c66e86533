/** CHANGELOG.md in the form of Debian's changelogs: deb-changelog(5). */

/** Whom packages name as their maintainer, unless the environment has OPENME_MAINTAINER: `Name <address>`. */
const MAINTAINER = "The openme authors <openme@openme.invalid>";

export function maintainer(): string {
  return Deno.env.get("OPENME_MAINTAINER") ?? MAINTAINER;
}

/**
 * One entry: the points of the newest section of CHANGELOG.md, which is that of `version`.
 *
 * @param markdown the text of CHANGELOG.md
 */
export function debianChangelog(
  markdown: string,
  { version, epochSeconds }: { readonly version: string; readonly epochSeconds: number },
): string {
  const section = markdown.split(/^## .*\n/m)[1] ?? "";
  const points = section.split(/^- /m).slice(1).map((point) => point.trim().split(/\s+/));
  if (points.length === 0) throw new Error("CHANGELOG.md: expected a section with points");
  const changes = points.map((words) => `  * ${wrap(words).join("\n    ")}\n`).join("");
  const date = new Date(epochSeconds * 1000).toUTCString().replace("GMT", "+0000");
  return `openme (${version}) stable; urgency=medium\n\n${changes}\n -- ${maintainer()}  ${date}\n`;
}

/** Lines of at most 74 columns. */
function wrap(words: readonly string[]): string[] {
  const lines = [""];
  for (const word of words) {
    const line = `${lines.at(-1)} ${word}`.trimStart();
    if (line.length <= 74) lines[lines.length - 1] = line;
    else lines.push(word);
  }
  return lines;
}
