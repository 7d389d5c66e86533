/**
 * The container of a backup: a tar archive in the ustar format (POSIX.1-1988), of regular files alone, all of one date.
 * The same files give the same bytes. Reading takes only what writing makes.
 */

import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";

/** A file of an archive. */
export interface TarFile {
  /** Such as `clients.d/alice.yaml`. */
  readonly name: string;
  /** Permission bits. */
  readonly mode: number;
  readonly content: Uint8Array<ArrayBuffer>;
}

const BLOCK = 512;
/** What the header has room for, in bytes of UTF-8. */
const LONGEST_NAME = 100;
/** Offset and length of the fields that are read. */
const NAME = [0, LONGEST_NAME] as const;
const MODE = [100, 8] as const;
const SIZE = [124, 12] as const;
const CHECKSUM = [148, 8] as const;

/** Packs files, in this order; `atSeconds` since 1970 is their date. Throws where a name is too long. */
export function packTar(files: readonly TarFile[], atSeconds: number): Uint8Array<ArrayBuffer> {
  const sizeOf = ({ content }: TarFile) => BLOCK + paddedSize(content.length);
  const total = files.reduce((sum, file) => sum + sizeOf(file), 2 * BLOCK); // ends with two empty blocks
  const archive = new Uint8Array(total);
  let at = 0;
  for (const file of files) {
    archive.set(headerOf(file, atSeconds), at);
    archive.set(file.content, at + BLOCK);
    at += sizeOf(file);
  }
  return archive;
}

/** The files of an archive, in its order; `undefined` where {@linkcode packTar} did not make it. */
export function unpackTar(archive: Uint8Array<ArrayBuffer>): TarFile[] | undefined {
  const files: TarFile[] = [];
  for (let at = 0;;) {
    const header = archive.subarray(at, at + BLOCK);
    if (header.length < BLOCK) return undefined;
    if (header.every((byte) => byte === 0)) return files;
    const name = textIn(header, NAME);
    const size = Number.parseInt(textIn(header, SIZE), 8);
    const content = archive.slice(at + BLOCK, at + BLOCK + size);
    if (content.length !== size || checksumOf(header) !== textIn(header, CHECKSUM)) {
      return undefined;
    }
    files.push({ name, mode: Number.parseInt(textIn(header, MODE), 8) & 0o777, content });
    at += BLOCK + paddedSize(size);
  }
}

function headerOf({ name, mode, content }: TarFile, atSeconds: number): Uint8Array {
  const encoded = new TextEncoder().encode(name);
  if (encoded.length > LONGEST_NAME) {
    throw new OpenmeError("CONFIG", `cannot back up ${quote(name, 1000)}: its name is too long`, {
      hint: `give the file a name of at most ${LONGEST_NAME} bytes, its folder included`,
    });
  }
  const header = new Uint8Array(BLOCK);
  const put = (offset: number, text: string) => header.set(new TextEncoder().encode(text), offset);
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, "0") + "\0";
  header.set(encoded);
  put(MODE[0], octal(mode, 7));
  put(108, octal(0, 7)); // owner
  put(116, octal(0, 7)); // group
  put(SIZE[0], octal(content.length, 11));
  put(136, octal(atSeconds, 11));
  put(156, "0"); // a regular file
  put(257, "ustar\x0000");
  put(265, "root");
  put(297, "root");
  put(CHECKSUM[0], checksumOf(header) + "\0 ");
  return header;
}

/** The sum of the header's bytes, those of the checksum counted as spaces. */
function checksumOf(header: Uint8Array): string {
  const [from, length] = CHECKSUM;
  const sum = header.reduce(
    (total, byte, at) => total + (from <= at && at < from + length ? 0x20 : byte),
    0,
  );
  return sum.toString(8).padStart(6, "0");
}

/** A field's text, up to its first NUL. */
function textIn(header: Uint8Array, [offset, length]: readonly [number, number]): string {
  const field = header.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
}

function paddedSize(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK;
}
