/** The packages for dpkg, rpm and pacman, made by nfpm (https://nfpm.goreleaser.com). */

import type { Make } from "./options.ts";

export const makeDeb: Make = notYet;
export const makeRpm: Make = notYet;
export const makeArch: Make = notYet;

function notYet(): Promise<string[]> {
  throw new Error("packages of this kind are not made yet");
}
