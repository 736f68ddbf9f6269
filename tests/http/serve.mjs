// Starts a daemon with some rows and transfers, prints `URL TOKEN`, and stops it when standard input ends.

import { once } from "node:events";
import { Daemon, until } from "../page/daemon.mjs";

const daemon = await Daemon.start();
// The hour that the description gives as an example of a task.
await daemon.generate(2_000, "--start", "2026-01-01T00:00:00Z", "--span-minutes", "60");
await until("all is ingested", async () => {
  const { ingest } = await daemon.get("/stats");
  return ingest.lag === 0 && ingest.datasets.some((d) => d.rows > 0);
});
await daemon.post("/sync", { lookback_hours: null });
await until("it is synced", async () => (await daemon.get("/transfer-tasks?status=done")).tasks.length > 0);
console.log(`${daemon.url} ${daemon.token}`);
process.stdin.resume();
await once(process.stdin, "end");
await daemon.stop();
