// What the daemon is asked, and the token. The token is in this tab's sessionStorage and in no other place.

const SLOT = "mpsync-token";
const PATIENCE_MS = 8_000;

/** An answer that is not 2xx, or none at all (`status` 0). */
export class Refused extends Error {
  constructor(status, message, hint) {
    super(message);
    this.status = status;
    this.hint = hint ?? null;
  }
}

export const token = {
  get: () => sessionStorage.getItem(SLOT),
  set: (value) => sessionStorage.setItem(SLOT, value),
  forget: () => sessionStorage.removeItem(SLOT),
};

async function ask(method, path, body) {
  const headers = { Accept: "application/json" };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  let text;
  try {
    answer = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(PATIENCE_MS),
    });
    text = await answer.text();
  } catch (error) {
    throw new Refused(0, error.name === "TimeoutError" ? `no answer within ${PATIENCE_MS / 1000} s` : "no connection");
  }
  return { status: answer.status, ok: answer.ok, value: parsed(text) };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function refusal({ status, value }) {
  return new Refused(status, value?.error ?? `the daemon answered ${status}`, value?.hint);
}

/** What a GET answers. `also` names a further status whose body is an answer (`/health` says 503 with one). */
export async function get(path, also) {
  const answer = await ask("GET", path);
  if ((answer.ok || answer.status === also) && answer.value) return answer.value;
  throw refusal(answer);
}

/**
 * A POST, with the token. `demand(why)` asks the user for one and resolves to false if they will not. A refused token is
 * forgotten at once.
 */
export async function post(path, body, demand) {
  let why = "To change something the daemon asks for its token.";
  for (;;) {
    if (!token.get() && !(await demand(why))) throw new Refused(401, "Nothing was done: no token was given.");
    const answer = await ask("POST", path, body);
    if (answer.ok) return answer.value;
    if (answer.status !== 401) throw refusal(answer);
    token.forget();
    why = `The daemon refused this token. Nothing was done.`;
  }
}
