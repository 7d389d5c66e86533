/** CHANGELOG.md in the form of Debian's changelogs: deb-changelog(5). */

/** Whom packages name as their maintainer. */
export const MAINTAINER = "The openme authors <openme@openme.invalid>";

/**
 * One entry: the points of the section of CHANGELOG.md about `version`; before its release, of the newest section.
 *
 * @param markdown the text of CHANGELOG.md
 */
export function debianChangelog(
  markdown: string,
  { version, epochSeconds }: { readonly version: string; readonly epochSeconds: number },
): string {
  const [, ...sections] = markdown.split(/^## /m);
  const section = sections.find((each) => each.split(/\s/, 1)[0] === version) ?? sections[0] ?? "";
  const points = section.split(/^- /m).slice(1).map((point) => point.trim().split(/\s+/));
  if (points.length === 0) throw new Error("CHANGELOG.md: expected a section with points");
  const changes = points.map((words) => `  * ${wrap(words).join("\n    ")}\n`).join("");
  const date = new Date(epochSeconds * 1000).toUTCString().replace("GMT", "+0000");
  return `openme (${version}) stable; urgency=medium\n\n${changes}\n -- ${MAINTAINER}  ${date}\n`;
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
