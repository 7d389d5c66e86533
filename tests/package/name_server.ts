/**
 * A name server for one name: `deno run --unstable-net -A name_server.ts ADDRESS NAME IPV4` answers on port 53 of ADDRESS
 * with IPV4 where it is asked for that, and that there is no such name where it is asked for another (RFC 1035, 4.1).
 */

import { print } from "../../scripts/run.ts";

const HEADER_SIZE = 12;
const TYPE_A = 1;
const ANSWER = 0x8180; // a response, recursion desired and available
const NO_SUCH_NAME = 3;

/** The answer to a query with one question. */
function answerTo(query: Uint8Array, name: string, ip: string): Uint8Array {
  const asked: string[] = [];
  let at = HEADER_SIZE;
  for (let length = query[at++]!; length > 0; length = query[at++]!) {
    asked.push(new TextDecoder().decode(query.subarray(at, at + length)));
    at += length;
  }
  const type = new DataView(query.buffer, query.byteOffset).getUint16(at);
  const isKnown = asked.join(".").toLowerCase() === name;
  const record = isKnown && type === TYPE_A
    // The name of the question, type A, class IN, 60 s, 4 bytes.
    ? [0xc0, HEADER_SIZE, 0, TYPE_A, 0, 1, 0, 0, 0, 60, 0, 4, ...ip.split(".").map(Number)]
    : [];
  const flags = ANSWER + (isKnown ? 0 : NO_SUCH_NAME);
  const counts = [0, 1, 0, record.length > 0 ? 1 : 0, 0, 0, 0, 0];
  const question = query.subarray(HEADER_SIZE, at + 4);
  return Uint8Array.of(query[0]!, query[1]!, flags >> 8, flags, ...counts, ...question, ...record);
}

if (import.meta.main) {
  const [hostname, name, ip] = Deno.args;
  const socket = Deno.listenDatagram({ transport: "udp", hostname: hostname!, port: 53 });
  print("listening");
  for await (const [query, from] of socket) await socket.send(answerTo(query, name!, ip!), from);
}
