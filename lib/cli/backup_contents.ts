/** How `backup` and `restore` say what a backup holds. */

import { type Backup, contentsOf } from "../backup/contents.ts";
import { isoTime } from "../values/moment.ts";
import { escapeUnprintable } from "../values/text.ts";
import { renderJson } from "./context.ts";
import { renderTable } from "./output.ts";

/** The files, a row each. */
export function renderContents(backup: Backup): string {
  const rows = contentsOf(backup).map(({ name, size, what }) => [
    escapeUnprintable(name),
    String(size),
    what,
  ]);
  return renderTable(["FILE", "BYTES", "WHAT"], rows);
}

/** The same for `--json`, with what the command adds. */
export function renderContentsJson(
  file: string,
  backup: Backup,
  more: Readonly<Record<string, unknown>> = {},
): string {
  const { madeAtMs, madeBy: version, host } = backup;
  return renderJson({
    file,
    "made_at": isoTime(madeAtMs),
    version,
    host,
    contents: contentsOf(backup),
    ...more,
  });
}
