/** QR codes: as a PNG, as SVG, and for a terminal. They hold a private key. */

import { encode as encodePng } from "fast-png";
import encodeQr from "qr";

/** The white border, in modules (ISO/IEC 18004: four). */
const BORDER = 4;
const MODULE_PIXELS = 6;

/** A PNG, black on white. */
export function qrPng(text: string): Uint8Array {
  const rows = modulesOf(text);
  const size = rows.length * MODULE_PIXELS;
  const data = new Uint8Array(size * size).fill(0xff);
  for (const [y, row] of rows.entries()) {
    for (const [x, dark] of row.entries()) {
      if (!dark) continue;
      for (let line = 0; line < MODULE_PIXELS; line++) {
        const start = (y * MODULE_PIXELS + line) * size + x * MODULE_PIXELS;
        data.fill(0, start, start + MODULE_PIXELS);
      }
    }
  }
  return encodePng({ width: size, height: size, data, channels: 1, depth: 8 });
}

/** An SVG, black on white. */
export function qrSvg(text: string): string {
  const rows = modulesOf(text);
  const size = rows.length;
  const path = rows.flatMap((row, y) => row.map((dark, x) => dark ? `M${x} ${y}h1v1h-1z` : ""));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size} ${size}" width="${
    size * MODULE_PIXELS
  }" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h${size}v${size}H0z"/><path d="${
    path.join("")
  }"/></svg>\n`;
}

/** Half blocks, two rows of modules a line. Without colours it can be read on a dark background only. */
export function qrText(text: string, { colors }: { colors: boolean }): string {
  const rows = modulesOf(text);
  const [begin, end] = colors ? ["\x1b[97;40m", "\x1b[0m"] : ["", ""];
  let shown = "";
  for (let y = 0; y < rows.length; y += 2) {
    const line = rows[y]!.map((dark, x) =>
      HALVES[Number(!dark) * 2 + Number(!(rows[y + 1]?.[x] ?? true))]
    );
    shown += begin + line.join("") + end + "\n";
  }
  return shown;
}

/** The light half of a character: none, the lower, the upper, both. */
const HALVES = [" ", "\u2584", "\u2580", "\u2588"];

/** `true` is dark. The lowest level of correction, since larger modules matter more on a screen. */
function modulesOf(text: string): boolean[][] {
  return encodeQr(text, "raw", { ecc: "low", border: BORDER });
}
