// Starts a daemon with some rows, prints `URL TOKEN`, and stops it when standard input ends.

import { once } from "node:events";
import { Daemon } from "../page/daemon.mjs";

const daemon = await Daemon.start();
await daemon.generate(2_000);
console.log(`${daemon.url} ${daemon.token}`);
process.stdin.resume();
await once(process.stdin, "end");
await daemon.stop();
