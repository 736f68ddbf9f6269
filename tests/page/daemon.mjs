// A real daemon in a folder of its own: nats-server, the embedded engine for hot and cold, `mpsync run --mode both`.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const run = promisify(execFile);
/** How long anything may take before it is given up. It only ends what hangs: a busy machine must never come near it. */
export const PATIENCE_MS = 300_000;

/** Asks `question` until it answers something true; says what was waited for when it does not. */
export async function until(what, question, patience = PATIENCE_MS) {
  const end = Date.now() + patience;
  let last;
  while (Date.now() < end) {
    try {
      const answer = await question();
      if (answer) return answer;
      last = answer;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`waited in vain until ${what}; last: ${last}`);
}

/**
 * A port that nobody has, below those that the system gives to connections: of them one might be taken before the server that is
 * to have it has started.
 */
async function freePort() {
  const range = await readFile("/proc/sys/net/ipv4/ip_local_port_range", "utf8").catch(() => "32768");
  const [lowest, below] = [10_000, Math.max(11_000, parseInt(range, 10))];
  for (;;) {
    const port = lowest + Math.floor(Math.random() * (below - lowest));
    const server = createServer().listen(port, "127.0.0.1");
    try {
      await once(server, "listening");
    } catch {
      continue;
    }
    server.close();
    await once(server, "close");
    return port;
  }
}

/** The pinned nats-server that `scripts/tools` has fetched, or what MPSYNC_NATS_SERVER names. */
function natsServer() {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const pinned = join(cache, "mpsync/nats-server-2.15.1/nats-server");
  return process.env.MPSYNC_NATS_SERVER ?? (existsSync(pinned) ? pinned : "nats-server");
}

export class Daemon {
  /** In a folder of this name, which must not be there; of a name of its own where none is given. */
  static async start(settings = "", name = null) {
    const self = new Daemon();
    self.folder = name ? join(tmpdir(), name) : await mkdtemp(join(tmpdir(), "mpsync-page-"));
    if (name) await mkdir(self.folder);
    self.children = [];
    try {
      await self.#servers();
      await self.#configure(settings);
      for (const tier of ["hot", "cold"]) await self.mpsync("schema", "apply", "--tier", tier);
      self.spawn(process.env.MPSYNC, ["--config", self.config, "run", "--mode", "both",
        "--hot-listen", self.listen[0], "--cold-listen", self.listen[1], "--token-file", join(self.folder, "token")], "daemon.log");
      await until("the daemon is ready", async () => (await fetch(`${self.url}/ready`)).ok);
    } catch (error) {
      const log = await readFile(join(self.folder, "daemon.log"), "utf8").catch(() => "");
      await self.stop();
      throw new Error(`${error.message}\n${log.slice(-4000)}`);
    }
    return self;
  }

  spawn(program, args, log) {
    const child = spawn("/bin/sh", ["-c", 'exec "$0" "$@" 2>"$LOG"', program, ...args], {
      cwd: this.folder, env: { ...process.env, LOG: join(this.folder, log) }, stdio: ["ignore", "pipe", "ignore"],
    });
    this.children.push(child);
    return child;
  }

  async #servers() {
    this.natsPort = await freePort();
    this.spawn(natsServer(), ["-js", "-a", "127.0.0.1", "-p", this.natsPort, "-sd", join(this.folder, "nats")], "nats.log").stdout.resume();
    const engine = this.spawn(process.env.MPSYNC, ["engine", "--data", join(this.folder, "engine"), "--listen", "127.0.0.1:0"], "engine.log");
    for await (const line of createInterface(engine.stdout)) {
      if (line.startsWith("listening on ")) {
        this.engine = line.slice("listening on ".length);
        break;
      }
    }
    engine.stdout.resume();
    this.password = (await readFile(join(this.folder, "engine/password"), "utf8")).trim();
  }

  async #configure(settings) {
    this.listen = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
    // A folder with a certificate: everything over TLS, and nothing shown without the token.
    const secure = process.env.MPSYNC_TEST_TLS;
    this.url = `${secure ? "https" : "http"}://${this.listen[0]}`;
    this.token = "page-test-token-0123456789abcdef";
    await writeFile(join(this.folder, "token"), this.token, { mode: 0o600 });
    const tier = (name) => `
${name}_storage:
  clickhouse_host: 127.0.0.1
  clickhouse_http_port: ${new URL(this.engine).port}
  clickhouse_password: "${this.password}"
  clickhouse_database: ${name}`;
    this.config = join(this.folder, "config.yaml");
    await writeFile(this.config, `nats:
  url: nats://127.0.0.1:${this.natsPort}
${tier("hot")}
  flush_interval: 0.2
${tier("cold")}
archive:
  path: ${join(this.folder, "archive")}
ingest:
  dead_letter_folder: ${join(this.folder, "letters")}
sync:
  grace_minutes: 0
${secure ? `http: {require_token_for_reads: true, tls_cert_file: ${secure}/cert.pem, tls_key_file: ${secure}/key.pem}` : ""}
${settings}`, { mode: 0o600 });
  }

  /** Another command on the same configuration; its standard output. */
  async mpsync(...args) {
    return (await run(process.env.MPSYNC, ["--config", this.config, ...args], { cwd: this.folder })).stdout;
  }

  /** Publishes `count` realistic messages. */
  generate(count, ...more) {
    return this.mpsync("generate", "--into-live", "--count", String(count), ...more);
  }

  /** Publishes one message. */
  async publish(subject, payload) {
    const file = join(this.folder, "messages.jsonl");
    await writeFile(file, `${JSON.stringify({ subject, msg_id: `page-${Date.now()}`, payload })}\n`);
    return this.mpsync("generate", "--into-live", "--from", file);
  }

  /** A statement to the engine; its answer as text. */
  async sql(statement) {
    const answer = await fetch(this.engine, { method: "POST", body: statement, headers: { "X-ClickHouse-User": "default", "X-ClickHouse-Key": this.password } });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.text();
  }

  async get(path) {
    return (await fetch(this.url + path, { headers: { Authorization: `Bearer ${this.token}` } })).json();
  }

  async post(path, body) {
    return fetch(this.url + path, {
      method: "POST", body: body && JSON.stringify(body),
      headers: { Authorization: `Bearer ${this.token}`, ...(body && { "Content-Type": "application/json" }) },
    });
  }

  async stop() {
    for (const child of this.children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGTERM");
      await once(child, "exit");
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}
