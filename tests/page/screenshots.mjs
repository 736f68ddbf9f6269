// Makes docs/images/page-*.png from a real daemon: healthy, transferring, halted; light, and dark, and on a phone.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { launch, open } from "./browser.mjs";
import { Daemon, until } from "./daemon.mjs";

const images = fileURLToPath(new URL("../../docs/images/", import.meta.url));
await mkdir(images, { recursive: true });
const daemon = await Daemon.start();
const browser = await launch();

const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 };

/** Keeps what the page shows once `shown` is on it. */
async function keep(name, shown, options) {
  const page = await open(browser, daemon.url, options);
  await page.locator(shown).first().waitFor();
  await page.locator(".cell[data-do]").first().waitFor();
  await page.screenshot({ path: `${images}page-${name}.png`, fullPage: options?.viewport === undefined });
  await page.context().close();
}

try {
  await daemon.generate(200_000);
  await until("all is ingested", async () => {
    const { ingest, tiers } = await daemon.get("/stats");
    return ingest.rows_per_second > 0 && ingest.lag === 0 && tiers.hot.rows > 0;
  });
  await keep("healthy-light", "#verdict.good");
  await keep("healthy-dark", "#verdict.good", { colorScheme: "dark" });
  await keep("healthy-phone", "#verdict.good", PHONE);

  // Transfers are short here: the page is there before they begin, and looks every few seconds.
  await daemon.generate(2_000_000);
  await until("the second lot is ingested", async () => (await daemon.get("/stats")).ingest.lag === 0, 300_000);
  const page = await open(browser, daemon.url);
  await daemon.post("/sync", { lookback_hours: null });
  await page.locator(".run").first().waitFor();
  await page.screenshot({ path: `${images}page-transferring-light.png`, fullPage: true });
  await until("the sync is over", async () => (await daemon.get("/stats")).sync.running.length === 0, 300_000);

  await daemon.sql("ALTER TABLE cold.trades UPDATE price = price + 1 WHERE stream_seq = (SELECT min(stream_seq) FROM cold.trades) SETTINGS mutations_sync = 2");
  await daemon.post("/sync", { lookback_hours: null });
  await until("it halted", async () => (await daemon.get("/stats")).sync.halted > 0);
  await keep("halted-light", "article.trouble.bad");
  await keep("halted-dark", "article.trouble.bad", { colorScheme: "dark" });
} finally {
  await browser.close();
  await daemon.stop();
}
