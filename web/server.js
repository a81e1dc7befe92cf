// Questions to the server.

import { api } from "../../scripts/api.js";

const [SOON, LATEST] = [500, 15000]; // ms after which a question that failed is asked again: first, at most
const KEPT = 64;

/** The server's answer; an error that says what the user can mend where there is none. */
export async function ask(path, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await api.fetchApi(path, options);
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok || found.error) throw new Error(found.error ?? `The server answered ${answer.status}.`);
  return found;
}

/**
 * Answers by path, each asked for once. What failed is asked for again when it is wanted later, ever less often: a file
 * may be on its way still (ComfyUI names it on the node before its upload has ended) or be put right.
 */
export class Answers {
  #entries = new Map();

  /** `due` is called whenever an answer may be asked for again. */
  constructor(due = () => {}) {
    this.due = due;
  }

  get(path) {
    const entry = this.#entries.get(path) ?? { tries: 0, answer: null };
    entry.answer ??= this.#ask(path, entry);
    this.#entries.set(path, entry);
    if (this.#entries.size > KEPT) this.#entries.delete(this.#entries.keys().next().value);
    return entry.answer;
  }

  #ask(path, entry) {
    const answer = ask(path);
    answer.catch(() => setTimeout(() => {
      entry.answer = null;
      this.due();
    }, Math.min(SOON * 2 ** entry.tries++, LATEST)));
    return answer;
  }
}
