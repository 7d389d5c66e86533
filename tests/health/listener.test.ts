/** What the health port says to a request, and what a client makes of an answer. */

import assert from "node:assert/strict";
import { parseAddress } from "../../lib/values/address.ts";
import type { Moment } from "../../lib/values/moment.ts";
import { respond } from "../../lib/health/answer.ts";
import { reportOn } from "../../lib/health/report.ts";
import { parseAnswer } from "../../lib/client/ask_health.ts";
import {
  type HealthReport,
  type ReportedGrant,
  reportFromJson,
  reportToJson,
} from "../../lib/values/health_report.ts";
import { blocksUnder } from "../documents/blocks.ts";
import { grantOf, moment, must, SOURCE } from "../support/knocks.ts";

const NOW_MS = Date.UTC(2026, 10, 23, 8);
const REPORT: HealthReport = {
  address: "203.0.113.7",
  nowMs: NOW_MS,
  grants: [{
    client: "laptop",
    fingerprint: "0123456789abcdef",
    ports: ["22/tcp", "8080-8090/tcp"],
    openedAtMs: NOW_MS - 5700,
    expiresAtMs: NOW_MS + 24_300,
    leftMs: 24_300,
    knocks: [{ id: "00112233445566ff", state: "open" }, {
      id: "ff112233445566ff",
      state: "pending",
    }],
  }],
};

const PARTS = { server: "vps.example.org", lifetimeMs: 30_000 };

function answer(head: string): { status: string; headers: string[]; body: string } {
  const text = respond(head, REPORT, PARTS);
  const end = text.indexOf("\r\n\r\n");
  const [status = "", ...headers] = text.slice(0, end).split("\r\n");
  return { status, headers, body: text.slice(end + 4) };
}

Deno.test("respond() gives JSON, with the date and the length of it", () => {
  const { status, headers, body } = answer("GET / HTTP/1.1\r\nHost: x");
  assert.equal(status, "HTTP/1.1 200 OK");
  assert.ok(headers.includes("Date: Mon, 23 Nov 2026 08:00:00 GMT"));
  assert.ok(headers.includes(`Content-Length: ${body.length}`));
  assert.ok(headers.includes("Connection: close"));
  assert.deepEqual(JSON.parse(body), {
    address: "203.0.113.7",
    now: "2026-11-23T08:00:00.000Z",
    grants: [{
      client: "laptop",
      fingerprint: "0123456789abcdef",
      ports: ["22/tcp", "8080-8090/tcp"],
      opened_at: "2026-11-23T07:59:54.300Z",
      expires_at: "2026-11-23T08:00:24.300Z",
      seconds_left: 24.3,
      knocks: [{ id: "00112233445566ff", state: "open" }, {
        id: "ff112233445566ff",
        state: "pending",
      }],
    }],
  });
});

Deno.test("the answer in docs/connecting.md has the keys of the real one", async () => {
  const [block] = await blocksUnder({
    document: "docs/connecting.md",
    heading: "The health port",
    test: import.meta.url,
  });
  const keysOf = (
    value: { grants: object[] },
  ) => [Object.keys(value), Object.keys(value.grants[0]!)];
  const { body } = answer("GET / HTTP/1.1\r\nHost: x");
  assert.deepEqual(keysOf(JSON.parse(must(block).text)), keysOf(JSON.parse(body)));
});

Deno.test("respond() gives a browser a page on which nothing foreign can run", () => {
  const { status, headers, body } = answer("GET / HTTP/1.1\r\nAccept: text/html,*/*;q=0.8");
  assert.equal(status, "HTTP/1.1 200 OK");
  assert.match(body, /^<!DOCTYPE html>/);
  for (
    const text of [
      "laptop",
      "Access open",
      "<code>203.0.113.7</code> <code>-&gt; vps.example.org</code>",
      "22/tcp",
      ">25s<",
      'data-left="24300"',
    ]
  ) {
    assert.ok(body.includes(text), text);
  }
  const policy = headers.find((header) => header.startsWith("Content-Security-Policy: "));
  const nonce = /script-src 'nonce-([\w-]+)'/.exec(policy ?? "")?.[1];
  assert.ok(nonce && body.includes(`<script nonce="${nonce}">`));
  assert.doesNotMatch(body, /https?:/);
});

Deno.test("respond() answers what it does not know, and a head alone, as HTTP has it", () => {
  const rows: [head: string, status: string][] = [
    ["POST / HTTP/1.1", "HTTP/1.1 405 Method Not Allowed"],
    ["GET /../etc/passwd HTTP/1.1", "HTTP/1.1 404 Not Found"],
    ["GET http://x/ HTTP/1.1", "HTTP/1.1 404 Not Found"],
    ["GET /", "HTTP/1.1 400 Bad Request"],
    ["", "HTTP/1.1 400 Bad Request"],
    ["\x16\x03\x01", "HTTP/1.1 400 Bad Request"],
    ["HEAD / HTTP/1.0", "HTTP/1.1 200 OK"],
  ];
  for (const [head, status] of rows) assert.equal(answer(head).status, status, head);
  assert.equal(answer("HEAD / HTTP/1.1").body, "");
});

Deno.test("parseAnswer() reads what respond() writes", () => {
  const read = parseAnswer(respond("GET / HTTP/1.1", REPORT, PARTS));
  assert.deepEqual(read, { report: REPORT, dateMs: NOW_MS });
});

Deno.test("parseAnswer() takes nothing else, however hostile", () => {
  const good = JSON.stringify(reportToJson(REPORT));
  const http = (body: string, status = "200 OK") => `HTTP/1.1 ${status}\r\n\r\n${body}`;
  assert.ok(parseAnswer(http(good)));
  const wrong = [
    "",
    "SSH-2.0-OpenSSH_9.2\r\n",
    good,
    http(good, "404 Not Found"),
    http(good.slice(1)),
    http("null"),
    http("[]"),
    http('{"address":"203.0.113.7","now":"x","grants":[]}'),
    http(good.replace("laptop", "\\u001b[2J")),
    http(good.replace("22/tcp", "22/tcp\\n")),
    http(good.replace("203.0.113.7", "<b>")),
    http(good.replace("24.3", "-1")),
    http(good.replace("24.3", '"soon"')),
    http(good.replace("00112233445566ff", "00112233445566fg")),
    http(good.replace('"pending"', '"\\u001b[2J"')),
    http(good.replace(/"knocks":.*?\],?/, "")),
    http(good.replace("0123456789abcdef", "\\u001b[2J")),
    http(good.replace(/"opened_at":"[^"]*"/, '"opened_at":"x"')),
    http(good.replace('[{"client"', '[null,{"client"')),
  ];
  for (const text of wrong) assert.equal(parseAnswer(text), undefined, text);
});

Deno.test("reportFromJson() and reportToJson() are each other's inverse", () => {
  assert.deepEqual(reportFromJson(JSON.stringify(reportToJson(REPORT))), REPORT);
  const [grant] = REPORT.grants as [ReportedGrant];
  const resumed = { ...REPORT, grants: [{ ...grant, knocks: [], failed: true as const }] };
  assert.deepEqual(reportFromJson(JSON.stringify(reportToJson(resumed))), resumed);
});

Deno.test("reportOn() measures what is left on the steady clock", () => {
  const now = moment(0);
  const grant = grantOf("laptop", "2001:db8::7", { endsSteadyMs: now.steadyMs + 300 });
  const parts = { healthPort: 54154, isRefused: () => false, knocksOf: () => [] };
  const leftAt = (now: Moment) =>
    reportOn(must(parseAddress("2001:db8::7")), [grant], now, parts).grants.map(({ leftMs }) =>
      leftMs
    );
  assert.deepEqual(leftAt(now), [300]);
  assert.deepEqual(
    leftAt({ ...now, wallNs: 0n }),
    [300],
    "a step of the wall clock changes nothing",
  );
  assert.deepEqual(leftAt(moment(900)), [0]);
});

Deno.test("reportOn() leaves out the health port, which comes with every grant", () => {
  const parts = { healthPort: 8085, isRefused: () => true, knocksOf: () => [] };
  const { grants, address } = reportOn(SOURCE, [grantOf("laptop")], moment(0), parts);
  assert.equal(address, "198.51.100.20");
  assert.deepEqual(grants.map(({ ports, failed }) => [ports, failed]), [
    [["22/tcp", "8080-8084/tcp", "8086-8090/tcp", "53/udp"], true],
  ]);
});
