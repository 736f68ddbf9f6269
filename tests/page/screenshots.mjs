// Makes docs/images/page-*.png from a real daemon: healthy, transferring, halted; light, and dark, and on a phone.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { launch, open } from "./browser.mjs";
import { Daemon, until } from "./daemon.mjs";

const images = fileURLToPath(new URL("../../docs/images/", import.meta.url));
await mkdir(images, { recursive: true });
// The archive's place is on the pictures.
const daemon = await Daemon.start("", "mpsync");
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

let asked = 0;

/** Asks for a sync. */
async function sync() {
  asked = Date.now();
  await daemon.post("/sync", { lookback_hours: null });
}

/** Waits until it is over: the one that began after it was asked for. */
const synced = () => until("the sync is over", async () => Date.parse((await daemon.get("/stats")).sync.last?.started_at) >= asked, 600_000);

/** Waits until so many rows, counted from the start, are ingested. */
const ingested = (rows) => until(`${rows} rows are ingested`, async () => {
  const { ingest } = await daemon.get("/stats");
  return ingest.datasets.reduce((sum, d) => sum + d.rows, 0) >= rows;
}, 300_000);

try {
  // Half a day that is in the archive and in cold, then what comes now.
  const start = new Date(Date.now() - 14 * 3_600_000).toISOString();
  await daemon.generate(60_000, "--start", start, "--span-minutes", "720");
  await ingested(60_000);
  await sync();
  await synced();
  const now = daemon.generate(120_000, "--rate", "3000");
  await until("rows come", async () => (await daemon.get("/stats")).ingest.rows_per_second > 1000);
  await keep("healthy-light", "#verdict.good");
  await keep("healthy-dark", "#verdict.good", { colorScheme: "dark" });
  await keep("healthy-phone", "#verdict.good", PHONE);

  // Transfers are short here: the page is there before they begin, and looks every few seconds.
  await now;
  await daemon.generate(600_000, "--seed", "2");
  await ingested(700_000);
  await until("nothing waits", async () => (await daemon.get("/stats")).ingest.lag === 0, 300_000);
  const page = await open(browser, daemon.url);
  await sync();
  await page.locator(".run").first().waitFor();
  await page.screenshot({ path: `${images}page-transferring-light.png`, fullPage: true });
  await synced();

  await daemon.sql("ALTER TABLE cold.trades UPDATE price = price + 1 WHERE stream_seq = (SELECT min(stream_seq) FROM cold.trades) SETTINGS mutations_sync = 2");
  await sync();
  await synced();
  await until("it halted", async () => (await daemon.get("/stats")).sync.halted > 0, 600_000);
  await keep("halted-light", "article.trouble.bad");
  await keep("halted-dark", "article.trouble.bad", { colorScheme: "dark" });
} finally {
  await browser.close();
  await daemon.stop();
}
