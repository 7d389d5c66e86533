/** Whether there is a file, a folder or a link of this path; no where that cannot be told. */
export function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
