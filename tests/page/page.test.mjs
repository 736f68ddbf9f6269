// The page of a real daemon, in headless Chromium. Run by `just test-page`.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { faint, figure, launch, open, overhang } from "./browser.mjs";
import { Daemon, until } from "./daemon.mjs";

const HOSTILE = "<img src=x onerror=\"window.harmed=1\">\u202e";
let daemon;
let browser;

before(async () => {
  daemon = await Daemon.start();
  browser = await launch();
  await daemon.generate(20_000);
  // A message that cannot be a row, whose words the page shows.
  await daemon.publish("trade.binance.spot.HOSTILE", {
    data_type: "trade", exchange: "binance", market_type: "spot", symbol: HOSTILE, data_source: "marketprism", trade_id: "1", side: "buy",
    price: HOSTILE, quantity: "1", is_maker: true, trade_ts_ms: 1_767_225_600_000, ts_ms: 1_767_225_600_000, collected_ts_ms: 1_767_225_600_000,
  });
  await until("all is ingested", async () => {
    const { ingest } = await daemon.get("/stats");
    return ingest.lag === 0 && ingest.dead_letters >= 1 && ingest.datasets.some((d) => d.rows > 0);
  });
});

after(async () => {
  await browser?.close();
  await daemon?.stop();
});

/** Everything that the page did wrong, which is nothing. */
const clean = (page) => assert.deepEqual(page.wrong, []);

test("the figures on the page are those of /stats", async () => {
  const page = await open(browser, daemon.url);
  await until("the page and /stats say the same", async () => {
    const stats = await daemon.get("/stats");
    const wanted = { "hot.rows": stats.tiers.hot.rows, "cold.rows": stats.tiers.cold.rows, "archive.rows": stats.archive.rows,
      "ingest.lag": stats.ingest.lag, "ingest.dead_letters": stats.ingest.dead_letters };
    for (const d of stats.tiers.hot.datasets) wanted[`${d.dataset}.hot.rows`] = d.rows;
    for (const [name, value] of Object.entries(wanted)) {
      const shown = await figure(page, name);
      if (shown?.value !== value || shown.text !== value.toLocaleString("en-US")) return false;
    }
    return stats.tiers.hot.rows > 0;
  });
  clean(page);
});

test("a hostile symbol name is shown as text", async () => {
  const page = await open(browser, daemon.url);
  await page.waitForFunction((text) => document.querySelector("#letter-list").textContent.includes(text), "<img src=x");
  assert.equal(await page.evaluate(() => window.harmed), undefined);
  assert.equal(await page.evaluate(() => document.querySelectorAll("main img, main script").length), 0);
  assert.ok(!(await page.evaluate(() => document.body.textContent)).includes("\u202e"), "what turns the reading direction is escaped");
  clean(page);
});

test("a window that cold holds otherwise is halted on the page, and a retry needs the token", async () => {
  assert.equal((await daemon.post("/sync", { lookback_hours: null })).status, 202);
  const table = await until("cold holds trades", async () => {
    const { tiers } = await daemon.get("/stats");
    return tiers.cold.datasets.find((d) => d.dataset === "trades" && d.rows > 0) && "cold.trades";
  });
  await until("the sync is over", async () => (await daemon.get("/stats")).sync.running.length === 0);
  await daemon.sql(`ALTER TABLE ${table} UPDATE price = price + 1 WHERE stream_seq = (SELECT min(stream_seq) FROM ${table}) SETTINGS mutations_sync = 2`);
  await daemon.post("/sync", { lookback_hours: null });
  await until("it halted", async () => (await daemon.get("/stats")).sync.halted > 0);

  const page = await open(browser, daemon.url);
  const trouble = page.locator("article.trouble.bad[data-key^='trouble task ']", { hasText: "halted" }).first();
  await trouble.waitFor();
  assert.match(await page.locator("#verdict").textContent(), /halted/);
  assert.match(await trouble.textContent(), /What to do/);
  await page.locator(".cell.halted[data-do]").first().waitFor();

  // Without the token: nothing is done.
  await trouble.getByRole("button", { name: /^Retry/ }).click();
  await page.locator("#token").fill("wrong");
  await page.locator("#token-dialog").getByRole("button", { name: "OK" }).click();
  await page.waitForFunction(() => document.querySelector("#token-why").textContent.includes("refused"));
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  await page.keyboard.press("Escape");
  await page.locator("#say p.bad").waitFor();

  // With it: accepted, and it is not asked for again.
  await trouble.getByRole("button", { name: /^Retry/ }).click();
  await page.locator("#token").fill(daemon.token);
  await page.locator("#token-dialog").getByRole("button", { name: "OK" }).click();
  await page.locator("#say p.good", { hasText: "accepted" }).waitFor();
  assert.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0);
  assert.ok(!page.url().includes(daemon.token));
  clean(page);
});

test("the keyboard is enough", async () => {
  const page = await open(browser, daemon.url);
  await page.locator(".cell[data-do]").first().waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  const seen = new Set();
  for (let n = 0; n < 60; n += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const e = document.activeElement;
      return { what: e.dataset.do ?? e.id ?? e.tagName, outlined: getComputedStyle(e).outlineStyle !== "none", body: e === document.body };
    });
    if (at.body) break;
    assert.ok(at.outlined, `${at.what} shows that it has the focus`);
    seen.add(at.what);
  }
  for (const wanted of ["lookback", "more", "days", "earlier", "window"]) assert.ok(seen.has(wanted), `Tab reaches ${wanted}`);

  await page.locator('.cell[tabindex="0"]').first().focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("Enter");
  await page.locator("#window-dialog[open]").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#window-dialog[open]").waitFor({ state: "detached" });
  clean(page);
});

for (const colorScheme of ["light", "dark"]) {
  test(`every text can be read in ${colorScheme}`, async () => {
    const page = await open(browser, daemon.url, { colorScheme });
    await page.locator(".cell[data-do]").first().waitFor();
    await page.locator("[data-do=more]").first().click();
    assert.deepEqual(await faint(page), []);
    clean(page);
  });
}

test("a phone 320 pixels wide shows all of it without scrolling sideways", async () => {
  const page = await open(browser, daemon.url, { viewport: { width: 320, height: 640 } });
  await page.locator(".cell[data-do]").first().waitFor();
  await page.locator("[data-do=more]").first().click();
  assert.equal(await overhang(page), 0);
  clean(page);
});

test("a daemon that does not answer is said to be silent, and its figures to be old", async () => {
  const page = await open(browser, daemon.url);
  // The daemon goes on for the other tests; this page alone no longer reaches it.
  await page.context().setOffline(true);
  await page.waitForFunction(() => document.querySelector("#stale").textContent.includes("does not answer"));
  assert.match(await page.locator("#pulse").textContent(), /stale/);
  await page.context().setOffline(false);
  await page.waitForFunction(() => document.querySelector("#pulse").textContent.includes("live"));
});
