/**
 * The health port's page for a browser: who is let in here, to what, and how much longer, counting down. One file, no
 * outside resources; every value is escaped although none can hold markup.
 */

import { formatDuration } from "./duration.ts";
import type { HealthReport, ReportedGrant } from "./health_report.ts";

/** The page; style and script carry `nonce`, so that nothing else on it could run. A full bar is `lifetimeMs`. */
export function healthPage(
  { address, grants }: HealthReport,
  { nonce, lifetimeMs }: { nonce: string; lifetimeMs: number },
): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>openme: let in</title>
<style nonce="${escapeHtml(nonce)}">${STYLE}</style>
</head>
<body>
<main>
<h1>You are let in</h1>
<p>as seen from <code>${escapeHtml(address)}</code></p>
${grants.map((grant) => renderGrant(grant, lifetimeMs)).join("\n")}
<p class="note">When the time is over no new connection is let in; those that are open go on.
<code>openme knock</code> starts the time again.</p>
</main>
<script nonce="${escapeHtml(nonce)}">${SCRIPT}</script>
</body>
</html>
`;
}

function renderGrant(grant: ReportedGrant, lifetimeMs: number): string {
  const { client, ports, leftMs } = grant;
  const totalMs = Math.max(1, lifetimeMs, leftMs);
  const left = formatDuration(Math.ceil(leftMs / 1000) * 1000);
  return `<section data-left="${Math.round(leftMs)}">
<h2>${escapeHtml(client)}</h2>
<ul>${
    ports.map((port) => `<li><code>${escapeHtml(port)}</code></li>`).join("") ||
    "<li>no ports of its own</li>"
  }</ul>${grant.failed ? "\n<p>The server's firewall refused this.</p>" : ""}
<p class="left" role="timer">${escapeHtml(left)}</p>
<progress max="${Math.round(totalMs)}" value="${Math.round(leftMs)}"></progress>
</section>`;
}

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

const STYLE = `
:root { color-scheme: light dark; --accent: #16794c; --over: #8a3b12; --line: #8884; }
@media (prefers-color-scheme: dark) { :root { --accent: #4cc38a; --over: #f0a070; } }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 34rem; margin: 0 auto; padding: 2rem 1rem; }
h1 { font-size: 1.5rem; margin: 0; }
h1.over { color: var(--over); }
h2 { font-size: 1.1rem; margin: 0; overflow-wrap: anywhere; }
code { font: 0.95em ui-monospace, monospace; overflow-wrap: anywhere; }
section { border: 1px solid var(--line); border-radius: 0.5rem; padding: 1rem; margin: 1rem 0; }
ul { list-style: none; display: flex; flex-wrap: wrap; gap: 0.4rem; padding: 0; margin: 0.5rem 0; }
li { border: 1px solid var(--line); border-radius: 0.3rem; padding: 0 0.4rem; }
.left { font-size: 2rem; font-variant-numeric: tabular-nums; color: var(--accent); margin: 0.25rem 0; }
.over .left { color: var(--over); }
progress { width: 100%; height: 0.5rem; accent-color: var(--accent); }
.note { font-size: 0.9rem; opacity: 0.8; }
`;

/** Counts on the page's own steady clock: the browser's wall clock may be off. */
const SCRIPT = `
const start = performance.now();
const pad = (n) => String(n).padStart(2, "0");
const text = (s) => s >= 3600 ? Math.floor(s / 3600) + ":" + pad(Math.floor(s / 60) % 60) + ":" + pad(s % 60)
  : s >= 60 ? Math.floor(s / 60) + ":" + pad(s % 60) : s + "s";
function draw() {
  let live = 0;
  for (const section of document.querySelectorAll("section")) {
    const left = Math.max(0, section.dataset.left - (performance.now() - start));
    section.querySelector(".left").textContent = left > 0 ? text(Math.ceil(left / 1000)) : "closed";
    section.querySelector("progress").value = left;
    section.classList.toggle("over", left === 0);
    if (left > 0) live++;
  }
  if (live > 0) return setTimeout(draw, 250);
  document.querySelector("h1").textContent = "Your time is over";
  document.querySelector("h1").classList.add("over");
  document.title = "openme: closed";
}
draw();
`;
