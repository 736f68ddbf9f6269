// The operator's page: displays the state of the daemon. No build step, no dependency, nothing from elsewhere.

import { get, post, token } from "./api.js";
import { byHour, calendar, describe, legend, range, step, taskId, worst } from "./calendar.js";
import { at, fill, h } from "./dom.js";
import { ago, clock, plain } from "./format.js";
import { demandToken, openWindow, rangeButtons, showWindow } from "./panels.js";
import { checks, letters, road, running, schedule } from "./sections.js";
import { datasets } from "./datasets.js";
import { troubles, verdict } from "./troubles.js";

const EVERY_MS = 5_000;
const EVERY_WHILE_RUNNING_MS = 2_000;
const SLOW_EVERY_MS = 15_000;
/** Older than this, what is shown is called stale. */
const STALE_MS = 16_000;

const state = {
  stats: null, health: null, windows: null, tasks: null, letters: null,
  /** What each question last failed with. */
  failed: {},
  /** When the figures came (this machine's clock), and how far the daemon's clock is ahead of it. */
  at: null, ahead: 0, began: Date.now(),
  open: new Set(), cursor: new Map(), days: 7, back: 0, locked: false, busy: new Set(),
};

const now = () => Date.now() + state.ahead;
const shown = () => range(now(), state.days, state.back);

/** Asks one thing and keeps the answer, or why there is none. */
async function learn(name, path, also) {
  try {
    state[name] = await get(path, also);
    delete state.failed[name];
    return true;
  } catch (error) {
    state.failed[name] = error;
    if (error.status === 401) state.locked = true;
    return false;
  }
}

async function learnFast() {
  const [fresh] = await Promise.all([learn("stats", "/stats"), learn("health", "/health", 503)]);
  if (!fresh) return;
  state.locked = false;
  state.at = Date.now();
  state.ahead = (Date.parse(state.stats.now) || state.at) - state.at;
}

async function learnSlow() {
  const { from, to } = shown();
  const iso = (ms) => new Date(ms).toISOString();
  await Promise.all([
    learn("windows", `/windows?from=${iso(from)}&to=${iso(to)}`),
    learn("letters", "/dead-letters?limit=20"),
    learnTasks(),
  ]);
}

/** Tasks that halted, and those that wait or were cancelled. */
async function learnTasks() {
  try {
    state.tasks = (await get("/transfer-tasks?status=halted,waiting,cancelled&limit=200")).tasks;
    delete state.failed.tasks;
  } catch (error) {
    state.failed.tasks = error;
  }
}

let timer = null;
let slowAt = 0;
let asking = null;
/** Whether a full round was requested during a round. */
let again = false;

/** One round of questions at a time; the next one is set when it is over. `all` asks everything at once. */
async function round(all = false) {
  if (all) {
    slowAt = 0;
    again = asking !== null;
  }
  clearTimeout(timer);
  asking ??= (async () => {
    await learnFast();
    draw();
    if (state.stats && !state.failed.stats && Date.now() - slowAt >= SLOW_EVERY_MS) {
      slowAt = Date.now();
      await learnSlow();
      draw();
    }
  })().finally(() => {
    asking = null;
    clearTimeout(timer);
    const wait = again ? 0 : pause();
    again = false;
    if (!document.hidden) timer = setTimeout(() => round(), wait);
  });
  return asking;
}

/** How long until the next round: shorter while something moves, or while a silent daemon may come back. */
function pause() {
  const moving = state.stats?.sync?.running?.length > 0 || state.failed.stats;
  return moving && !state.locked ? EVERY_WHILE_RUNNING_MS : EVERY_MS;
}

function draw() {
  drawPulse();
  if (state.locked) drawLocked();
  if (!state.stats) return;
  const { stats, health } = state;
  at("about").textContent = about(stats);
  const found = troubles(state, now());
  verdict(found, at("verdict"), state);
  fill(at("troubles"), found.map((t) => t.element));
  fill(at("road"), road(stats));
  at("sync").hidden = !stats.sync;
  if (stats.sync) {
    at("sync-form").hidden = false;
    fill(at("schedule"), schedule(stats.sync, now()));
    fill(at("running"), running(stats.sync));
  }
  fill(at("datasets"), datasets(stats, state.open, now()));
  drawWindows();
  fill(at("letter-list"), letters(stats, state.letters, state.failed.letters, now()));
  fill(at("checks"), checks(health, state.failed.health, now()));
  at("forget").hidden = !token.get();
}

function about(stats) {
  const doing = { hot: "hot: ingest", cold: "cold: transfers", both: "hot and cold" }[stats.mode] ?? stats.mode;
  return `${plain(stats.version)} · ${plain(doing)} · started ${ago(Date.parse(stats.started_at), now())}`;
}

function drawWindows() {
  fill(at("range"), rangeButtons(state));
  if (!state.windows) {
    const why = state.failed.windows;
    fill(at("calendar"), h("p", { class: "quiet" }, why ? `Not to be read: ${plain(why.message)}` : "Asking…"));
    return;
  }
  const { windows } = state.windows;
  fill(at("legend"), legend(windows));
  fill(at("calendar"), calendar(windows, shown(), now(), (dataset) => state.cursor.get(dataset)));
}

/** Whether the figures are of now, said in the header and, when they are not, in a band that cannot be overlooked. */
function drawPulse() {
  const pulse = at("pulse");
  const age = Date.now() - (state.at ?? state.began);
  const error = state.failed.stats;
  const stale = Boolean(error) && (state.at === null || age > STALE_MS || error.status !== 0);
  pulse.className = stale ? "pulse bad" : "pulse good";
  pulse.textContent = state.locked ? "■ locked" : stale ? "■ stale" : state.at ? `● live ${clock(now())}` : "Asking…";
  document.body.classList.toggle("is-stale", stale);
  const band = stale && !state.locked
    ? h("p", { class: "stale" }, h("strong", {}, "The daemon does not answer. "),
        state.at ? `What you see is of ${clock(state.at + state.ahead)} UTC, ${ago(state.at, Date.now())}. ` : "",
        `${plain(error.message)}; asked again every ${EVERY_WHILE_RUNNING_MS / 1000} s. Is mpsync running? See its log, or systemctl status mpsync.`)
    : null;
  fill(at("stale"), band);
}

function drawLocked() {
  fill(at("stale"), h("p", { class: "stale" }, h("strong", {}, "This daemon shows its figures only to those who have its token. "),
    h("button", { type: "button", "data-do": "unlock" }, "Enter the token")));
}

/** Says in the corner what came of an action, for eyes and for screen readers. */
function say(text, kind) {
  fill(at("say"), h("p", { class: kind }, text, " ", h("button", { type: "button", "data-do": "unsay" }, "OK")));
}

/** Posts, says what came of it, and asks everything again. The pressed button is held until then. */
async function act(path, body, done) {
  if (state.busy.has(path)) return;
  state.busy.add(path);
  try {
    const answer = await post(path, body, demandToken);
    say(done(answer), "good");
  } catch (error) {
    say(`${plain(error.message)}${error.hint ? ` ${plain(error.hint)}` : ""}`, "bad");
  } finally {
    state.busy.delete(path);
    await round(true);
  }
}

const ACTIONS = {
  retry: ({ task }) => act(`/transfer-tasks/${encodeURIComponent(task)}/retry`, undefined, (a) => `Retry accepted: ${plain(task)} is ${plain(a?.status ?? "queued")}.`),
  cancel: ({ task }) => act(`/transfer-tasks/${encodeURIComponent(task)}/cancel`, undefined, (a) => `Cancel accepted: ${plain(task)} is ${plain(a?.status ?? "cancelled")}.`),
  history: ({ task }) => openWindow(task, null),
  window: ({ dataset, hour }) => {
    const w = windowAt(dataset, Number(hour));
    if (w) openWindow(taskId(w), w);
  },
  more: ({ dataset }) => {
    if (!state.open.delete(dataset)) state.open.add(dataset);
    draw();
  },
  days: ({ days }) => move(Number(days), 0),
  earlier: () => move(state.days, state.back + 1),
  later: () => move(state.days, Math.max(0, state.back - 1)),
  forget: () => {
    token.forget();
    say("The token is forgotten.", "good");
    draw();
  },
  unlock: async () => (await demandToken("To show its figures the daemon asks for its token.")) && round(true),
  "close-token": () => at("token-dialog").close(),
  "close-window": () => at("window-dialog").close(),
  unsay: () => fill(at("say")),
};

function move(days, back) {
  state.days = days;
  state.back = back;
  state.windows = null;
  draw();
  round(true);
}

const hoursOf = (dataset) => byHour(state.windows?.windows ?? [], shown()).get(dataset);

function windowAt(dataset, hour) {
  const here = hoursOf(dataset)?.get(hour);
  return here && worst(here);
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-do]");
  if (target) ACTIONS[target.dataset.do]?.(target.dataset);
});

at("sync-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const hours = at("lookback").value.trim();
  act("/sync", { lookback_hours: hours === "" ? null : Number(hours) }, () => "A sync was asked for; it begins when the one that runs, if any, is over.");
});

at("calendar").addEventListener("keydown", (event) => {
  const cell = event.target.closest("[data-hour]");
  if (!cell) return;
  const { dataset, hour } = cell.dataset;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    ACTIONS.window(cell.dataset);
  } else if (/^(Arrow|Home$|End$)/.test(event.key)) {
    event.preventDefault();
    const to = step(hoursOf(dataset), Number(hour), event.key);
    state.cursor.set(dataset, to);
    drawWindows();
    cell.closest(".grid").querySelector(`[data-hour="${to}"]`).focus();
  }
});

for (const kind of ["focusin", "pointerover"]) {
  at("calendar").addEventListener(kind, (event) => {
    const cell = event.target.closest?.("[data-hour]");
    const w = cell && windowAt(cell.dataset.dataset, Number(cell.dataset.hour));
    if (w) showWindow(describe(w));
  });
}

document.addEventListener("visibilitychange", () => document.hidden || round());
setInterval(drawPulse, 1_000);
round(true);
