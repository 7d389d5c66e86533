/** The health port's page in a real browser, from a real server: the countdown, a renewal, the end, and after it. */

import assert from "node:assert/strict";
import { lacks } from "../support/programs.ts";
import { Browser } from "./browser.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4 } from "./lab.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";
import { waitFor } from "../support/wait.ts";

/** Where the pictures go that a person looks at, where that is asked for. */
const PICTURES = Deno.env.get("OPENME_PICTURES");

e2e("the health port's page", async (lab, t) => {
  await using site = await Site.create(lab, {
    clients: { laptop: ["22/tcp", "8080-8090/tcp"] },
    knockTimeout: "8s",
  });
  await site.serve();
  await site.knock("laptop", ["--check"]);
  await using browser = await Browser.open(lab, "client", `http://${IPV4.server}:${KNOCK_PORT}/`);
  const left = async () =>
    Number(
      /^(\d+)s$/m.exec(await browser.text())?.[1] ??
        (/^closed$/m.test(await browser.text()) ? 0 : NaN),
    );
  const waitForText = (pattern: RegExp, timeoutMs = 12_000) =>
    waitFor(`${pattern}`, async () => pattern.test(await browser.text()), { timeoutMs });
  const look = async (name: string) => {
    for (const width of [390, 1280]) {
      for (const scheme of ["light", "dark"] as const) {
        const picture = await browser.picture(width, scheme);
        const wide = await browser.evaluate("document.documentElement.scrollWidth");
        assert.ok(Number(wide) <= width, `${name}: scrolls sideways at ${width} px`);
        if (PICTURES) await Deno.writeFile(`${PICTURES}/${name}-${width}-${scheme}.png`, picture);
      }
    }
  };

  await t.step("says in its own words what is open, from where, to which server", async () => {
    await waitForText(/^Access open$/m);
    const text = await browser.text();
    for (const each of [`${IPV4.client} -> ${IPV4.server}`, "laptop", "22/tcp", "8080-8090/tcp"]) {
      assert.ok(text.includes(each), `${each}: ${text}`);
    }
    const first = await left();
    assert.ok(first > 0 && first <= 8);
    await waitFor("a count", async () => await left() < first);
    assert.equal(await browser.evaluate("document.querySelector('#look').hidden"), true);
    await look("open");
  });

  await t.step("asks again, and shows a renewal", async () => {
    for (let knock = 1; knock <= 2; knock++) { // beyond the end of the first grant
      const before = await browser.evaluate("document.querySelector('section').dataset.left");
      await waitFor("the second half", async () => await left() <= 4, { timeoutMs: 8000 });
      await site.knock("laptop");
      await waitFor("the renewed grant", async () => await left() >= 5);
      assert.match(await browser.text(), /^Access open$/m);
      assert.notEqual(
        await browser.evaluate("document.querySelector('section').dataset.left"),
        before,
      );
      await waitForText(/Renewed at /);
      if (knock === 1) await look("renewed");
    }
  });

  await t.step("says when it is over, and looks again when told to", async () => {
    await waitForText(/^Access closed$/m, 20_000);
    assert.match(await browser.text(), /^closed$/m);
    assert.match(await browser.text(), /openme knock opens it again/);
    await look("closed");
    const click = () => browser.evaluate("document.querySelector('#look').click()");
    await click();
    await waitForText(/Still closed at /);
    await site.knock("laptop", ["--check"]);
    await click();
    await waitForText(/^Access open$/m);
    assert.ok(await left() > 0);
  });

  await t.step("an end before its time is no open access", async () => {
    await site.knock("laptop");
    await waitForText(/Renewed|Access open/);
    const close = await openme(lab, "server", ["close", "--all", "--config", site.config]);
    assert.equal(close.code, 0, close.stderr);
    await waitForText(/^(No answer|Access closed)$/m, 20_000);
    await look("no-answer");
  });

  await t.step("nothing on it was refused by its own policy", () => {
    const refused = browser.complaints.filter((each) => /Content.Security.Policy/i.test(each));
    assert.deepEqual(refused, []);
  });
}, { needs: lacks("chromium") });
