/**
 * The health port's page for a browser: the open ports and the time left. While access is open it asks again, and so
 * shows a renewal and an early end. One file, no outside resources; every value is escaped, although none can hold
 * markup.
 */

import { formatDuration } from "../values/duration.ts";
import type { HealthReport, ReportedGrant } from "../values/health_report.ts";

/** What the page shows beside the report. */
export interface PageParts {
  /** The server's name: its configured host, else the address that the browser connected to. */
  readonly server: string;
  /** For the Content-Security-Policy: only the style and script that carry it apply. */
  readonly nonce: string;
  /** The time of a full bar. */
  readonly lifetimeMs: number;
}

/** The whole page. */
export function healthPage(
  { address, grants }: HealthReport,
  { server, nonce, lifetimeMs }: PageParts,
): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Access open: ${escapeHtml(server)}</title>
<style nonce="${escapeHtml(nonce)}">${STYLE}</style>
</head>
<body>
<header>
<h1 role="status">Access open</h1>
<p><code>${escapeHtml(address)}</code> <code>-&gt; ${escapeHtml(server)}</code></p>
</header>
<main>
${grants.map((grant) => renderGrant(grant, lifetimeMs)).join("\n")}
</main>
<footer>
<p id="note">Open connections live on when the time is over. <code>openme knock</code> renews it.</p>
<button id="look" type="button" hidden>Look again</button>
</footer>
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
    "<li>this page only</li>"
  }</ul>${grant.failed ? '\n<p class="failed">The server\'s firewall refused this grant.</p>' : ""}
<p class="left" role="timer">${escapeHtml(left)}</p>
<progress max="${Math.round(totalMs)}" value="${
    Math.round(leftMs)
  }" aria-label="time left"></progress>
</section>`;
}

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

const STYLE = `
:root { color-scheme: light dark; --back: #f6f7f8; --card: #fff; --line: #d5d9dd; --text: #1b1f23; --soft: #57606a;
  --open: #12734a; --closed: #9a3412; }
@media (prefers-color-scheme: dark) { :root { --back: #111417; --card: #1a1f24; --line: #343b43; --text: #e8eaed;
  --soft: #9aa4ae; --open: #4cc38a; --closed: #f0a070; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 36rem; padding: 2rem 1rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
code { font: 0.95em ui-monospace, monospace; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; color: var(--open); }
header p { margin: 0.25rem 0 1.25rem; color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 0.5rem; padding: 1rem; margin: 0 0 1rem; }
h2 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
ul { list-style: none; display: flex; flex-wrap: wrap; gap: 0.4rem; padding: 0; margin: 0.5rem 0; }
li { border: 1px solid var(--line); border-radius: 0.3rem; padding: 0 0.4rem; }
.left { font-size: 2.25rem; line-height: 1.2; font-variant-numeric: tabular-nums; color: var(--open);
  margin: 0.75rem 0 0.5rem; }
progress { display: block; width: 100%; height: 0.5rem; appearance: none; border: 0; border-radius: 0.25rem;
  overflow: hidden; background: var(--line); }
progress::-webkit-progress-bar { background: var(--line); }
progress::-webkit-progress-value { background: var(--open); }
progress::-moz-progress-bar { background: var(--open); }
footer { color: var(--soft); font-size: 0.9rem; }
.failed, .closed h1, section.over .left { color: var(--closed); }
button { font: inherit; padding: 0.6rem 1.25rem; border: 1px solid var(--line); border-radius: 0.4rem;
  background: var(--card); color: var(--text); cursor: pointer; }
button:disabled { color: var(--soft); cursor: default; }
`;

/**
 * Counts on the page's steady clock: the browser's wall clock may be off. It fetches this page again and takes the grants
 * out of it: one renderer, and no script of the answer runs. A closed port does not answer at all.
 */
const SCRIPT = `
const ASK_MS = 3000, PATIENCE_MS = 3000;
const note = document.querySelector("#note"), look = document.querySelector("#look"), advice = [...note.childNodes];
const server = document.title.slice(document.title.indexOf(":"));
const pad = (n) => String(n).padStart(2, "0");
const text = (s) => s >= 3600 ? Math.floor(s / 3600) + ":" + pad(Math.floor(s / 60) % 60) + ":" + pad(s % 60)
  : s >= 60 ? Math.floor(s / 60) + ":" + pad(s % 60) : s + "s";
const now = () => performance.now(), time = () => new Date().toLocaleTimeString();
const most = () => Math.max(0, ...Array.from(document.querySelectorAll("section"), (each) => each.dataset.left - (now() - read)));
let read = now(), asked = now(), missed = 0, asking = false, live = true;
function show(title, words, isOpen) {
  live = isOpen;
  document.querySelector("h1").textContent = title;
  document.title = title + server;
  document.body.classList.toggle("closed", !isOpen);
  if (isOpen) note.replaceChildren(...advice); else note.textContent = words;
  look.hidden = isOpen;
}
async function ask() {
  asking = true;
  asked = now();
  try {
    const options = { headers: { Accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) };
    const answer = await fetch("/", options);
    const html = await answer.text(), grants = html.slice(html.indexOf("<main>"), html.indexOf("</main>"));
    const main = new DOMParser().parseFromString(grants, "text/html").querySelector("main");
    if (!answer.ok || !main) throw new Error("no grants");
    const before = most();
    document.querySelector("main").replaceWith(main);
    read = now();
    missed = 0;
    if (!live) show("Access open", "", true);
    if (most() > before + 1500) note.textContent = "Renewed at " + time() + ".";
  } catch {
    missed++;
    if (most() === 0) show("Access closed", "Closed at " + time() + ". openme knock opens it again.", false);
    else if (missed > 1) show("No answer", "The server has not answered since " + time() + ": access has ended early, or the network is gone.", false);
  }
  asking = false;
  draw();
}
function draw() {
  for (const section of document.querySelectorAll("section")) {
    const left = Math.max(0, section.dataset.left - (now() - read));
    section.querySelector(".left").textContent = left > 0 ? text(Math.ceil(left / 1000)) : live && most() === 0 ? "checking" : "closed";
    section.querySelector("progress").value = left;
    section.classList.toggle("over", left === 0);
  }
  if (live && !asking && (most() === 0 || now() - asked >= ASK_MS)) ask();
}
look.addEventListener("click", async () => {
  look.disabled = true;
  note.textContent = "Looking ...";
  await ask();
  if (!live) note.textContent = "Still closed at " + time() + ". openme knock opens it again.";
  look.disabled = false;
});
document.addEventListener("visibilitychange", () => { if (live && !asking && !document.hidden) ask(); });
setInterval(draw, 250);
draw();
`;
