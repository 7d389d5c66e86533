/** The C library, for what the runtime has no call for. */

/**
 * These of its functions, until the process ends. `undefined` where there is none to use: without Linux or glibc, or where
 * it is not permitted.
 */
export function openLibc<const Functions extends Deno.ForeignLibraryInterface>(
  functions: Functions,
): Deno.DynamicLibrary<Functions>["symbols"] | undefined {
  if (Deno.build.os !== "linux") return undefined;
  try {
    return Deno.dlopen("libc.so.6", functions).symbols;
  } catch {
    return undefined; // another libc, or no permission
  }
}
