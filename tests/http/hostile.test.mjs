// Whatever comes in over HTTP, rows keep landing. Run by `just test-http`, against a real daemon; once more over TLS, where
// MPSYNC_TEST_TLS names a folder with a certificate.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { Daemon, until } from "../page/daemon.mjs";

const SECURE = Boolean(process.env.MPSYNC_TEST_TLS);
const SEED = Number(process.env.MPSYNC_SEED ?? 1);
let daemon;
let feeding = true;
let feed;

before(async () => {
  console.log(`MPSYNC_SEED=${SEED}`);
  daemon = await Daemon.start();
  // One small lot after the other for as long as the tests last.
  feed = (async () => {
    for (let seed = 1; feeding; seed += 1) await daemon.generate(2_000, "--seed", String(seed));
  })();
  await lands();
});

after(async () => {
  feeding = false;
  await feed;
  await daemon?.stop();
});

const rows = async () => (await daemon.get("/stats")).ingest.datasets.reduce((sum, d) => sum + d.rows, 0);

/** Ingest goes on: more rows than there were at the call. */
async function lands() {
  const least = await rows();
  await until("more rows land", async () => (await rows()) > least);
}

/** Sends bytes over a connection of their own; what comes back until the peer closes it, or has been silent for `quiet` ms. */
async function talk(bytes, quiet = 60_000) {
  const { hostname, port } = new URL(daemon.url);
  const socket = SECURE ? connectTls(Number(port), hostname) : connect(Number(port), hostname);
  let answer = "";
  socket.on("data", (chunk) => (answer += chunk));
  socket.on("error", () => {});
  socket.setTimeout(quiet, () => socket.destroy());
  socket.write(bytes);
  await once(socket, "close");
  return answer;
}

/** Numbers from a seed, the same ones each time (mulberry32). */
function random(seed) {
  let a = seed;
  return (below) => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const POSTS = ["/sync", "/transfer-tasks", "/transfer-tasks/trades@20260101T000000Z-20260101T010000Z/retry", "/transfer-tasks/x/cancel"];

test("bodies of any bytes are refused or taken, and never a fault of the server", async () => {
  const pick = random(SEED);
  const seeds = ['{"lookback_hours":24}', '{"data_type":"trade","start":"2026-01-01T00:00:00Z","end":"2026-01-01T01:00:00Z"}', "[]", "null", '"\\ud800"', "{", "9".repeat(400), "[".repeat(20_000)];
  for (let n = 0; n < 400; n += 1) {
    const body = Buffer.from(seeds[pick(seeds.length)]);
    for (let flips = pick(6); flips > 0; flips -= 1) body[pick(body.length)] = pick(256);
    const path = POSTS[pick(POSTS.length)];
    const answer = await fetch(daemon.url + path, { method: "POST", body, headers: { Authorization: `Bearer ${daemon.token}`, "Content-Type": pick(5) ? "application/json" : "text/plain" } });
    const text = await answer.text();
    assert.ok(answer.status < 500 || answer.status === 503, `${path} answered ${answer.status} to ${body.toString("latin1").slice(0, 200)}: ${text}`);
    if (!answer.ok) assert.equal(typeof JSON.parse(text).error, "string");
  }
  await lands();
});

test("wrong tokens change nothing, and no answer tells the right one", async () => {
  const wrong = [undefined, "", "Bearer", "Bearer ", "Bearer x", `Bearer ${daemon.token}x`, `Bearer ${daemon.token.slice(1)}`, `Basic ${btoa(`a:${daemon.token}`)}`, `Bearer ${"x".repeat(4_000)}`];
  for (const path of POSTS) {
    for (const authorization of wrong) {
      const answer = await fetch(daemon.url + path, { method: "POST", headers: authorization === undefined ? {} : { Authorization: authorization } });
      const text = await answer.text();
      assert.equal(answer.status, 401, `${path} with ${authorization}`);
      assert.equal(answer.headers.get("www-authenticate"), "Bearer");
      assert.ok(!text.includes(daemon.token));
    }
  }
  await lands();
});

test("where reads are protected, only health and the page's own files are open", { skip: !SECURE }, async () => {
  for (const [path, wanted] of [["/stats", 401], ["/metrics", 401], ["/nothing", 401], ["/health", 200], ["/", 200], ["/page.js", 200]]) {
    assert.equal((await fetch(daemon.url + path)).status, wanted, path);
  }
});

test("foreign hosts and origins are refused", async () => {
  const { host } = new URL(daemon.url);
  for (const headers of ["Host: evil.example", `Host: ${host}\r\nOrigin: http://evil.example`, `Host: ${host}\r\nOrigin: null`]) {
    const answer = await talk(`POST /sync HTTP/1.1\r\n${headers}\r\nAuthorization: Bearer ${daemon.token}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`);
    assert.match(answer, /^HTTP\/1\.1 403/, headers);
  }
  await lands();
});

test("methods, paths and heads that are none are answered or the connection is closed", async () => {
  const { host } = new URL(daemon.url);
  const close = `Host: ${host}\r\nConnection: close\r\n`;
  const cases = [
    [`DELETE /stats HTTP/1.1\r\n${close}Authorization: Bearer ${daemon.token}\r\n\r\n`, /^HTTP\/1\.1 405/],
    [`BREW / HTTP/1.1\r\n${close}\r\n`, /^HTTP\/1\.1 4\d\d/],
    [`GET /nothing HTTP/1.1\r\n${close}Authorization: Bearer ${daemon.token}\r\n\r\n`, /^HTTP\/1\.1 404/],
    [`GET /../../etc/passwd HTTP/1.1\r\n${close}\r\n`, /^HTTP\/1\.1 4\d\d/],
    [`GET /transfer-tasks/%2e%2e%2f%00 HTTP/1.1\r\n${close}\r\n`, /^HTTP\/1\.1 4\d\d/],
    [`GET /${"a".repeat(100_000)} HTTP/1.1\r\n${close}\r\n`, /^(HTTP\/1\.1 4\d\d|$)/],
    [`GET / HTTP/1.1\r\n${close}X: ${"a".repeat(1_000_000)}\r\n\r\n`, /^(HTTP\/1\.1 4\d\d|$)/],
    [`GET / HTTP/1.1\r\n${close}${"X: y\r\n".repeat(2_000)}\r\n`, /^(HTTP\/1\.1 4\d\d|$)/],
    ["\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", /^(HTTP\/1\.1 4\d\d|$)/],
    ["\0\0\0\0\r\n\r\n", /^(HTTP\/1\.1 4\d\d|$)/],
    [`POST /sync HTTP/1.1\r\n${close}Authorization: Bearer ${daemon.token}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`, /^(HTTP\/1\.1 4\d\d|$)/],
    [`POST /sync HTTP/1.1\r\n${close}Authorization: Bearer ${daemon.token}\r\nContent-Type: application/json\r\nContent-Length: 999999999999\r\n\r\n`, /^(HTTP\/1\.1 4\d\d|$)/],
  ];
  for (const [bytes, wanted] of cases) assert.match(await talk(bytes), wanted, bytes.slice(0, 80));
  await lands();
});

test("a thousand connections that say nothing, or a byte at a time, hold up neither ingest nor others for long", async () => {
  const { hostname, port } = new URL(daemon.url);
  const sockets = Array.from({ length: 1_000 }, () => connect(Number(port), hostname).on("error", () => {}));
  // Over TLS a client's first message that never ends.
  const head = SECURE ? "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" : `GET /stats HTTP/1.1\r\nHost: ${hostname}\r\nX-Slow: `;
  let at = 0;
  const drip = setInterval(() => {
    // Half of them stay silent; the other half never finish their head.
    for (const socket of sockets.slice(0, 500)) if (socket.writable) socket.write(head[at] ?? "a", "latin1");
    at += 1;
  }, 50);
  try {
    // Asked of the tables themselves: the daemon may rightly refuse further connections while these stand.
    const held = async () => Number((await daemon.sql("SELECT sum(rows) FROM system.parts WHERE active AND database = 'hot' AND table NOT LIKE '%_sealed_%'")).trim());
    const before = await held();
    await until("rows land meanwhile", async () => (await held()) > before);
    await until("the slow ones are shut out", async () => sockets.filter((s) => !s.destroyed).length < 500);
    await until("others are answered", async () => (await fetch(`${daemon.url}/health`)).status < 600);
  } finally {
    clearInterval(drip);
    for (const socket of sockets) socket.destroy();
  }
  await lands();
});
