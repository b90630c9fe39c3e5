/** What to do when a stream socket closed: stop for a reason, or try again, and after how long. No socket, no clock. */

/** @import { Bye } from "./protocol.js" */
/**
 * @typedef {{status: number, code?: string, reason?: string} | null} Answer
 *   of `GET /stream/{id}`; null when nobody answered
 * @typedef {{stop: string} | {retry_after_ms: number}} Verdict
 */

/** Close codes after which another try would end the same way. @type {Record<number, string>} */
const FINAL = {
  1009: "message_too_big",
  4400: "bad_message",
  4401: "unauthenticated",
  4403: "forbidden",
  4409: "second_publisher",
  4413: "image_too_large",
  4422: "undecodable",
};

/** Close codes that say the stream is gone; only the gateway knows why. @type {Record<number, string>} */
const GONE = { 4404: "not_found" };

/**
 * Why it is over, as far as close code and bye tell; null when `GET /stream/{id}` must be asked.
 *
 * A browser never sees why an upgrade was refused: it is told 1006 and nothing else.
 *
 * @param {number} code
 * @param {Bye | null} bye  the last one, if any
 * @returns {Verdict | null}
 */
export function verdictOfClose(code, bye) {
  if (bye?.retry_ms !== undefined) return { retry_after_ms: bye.retry_ms };
  if (FINAL[code]) return { stop: bye?.reason ?? FINAL[code] };
  return bye && (code === 1000 || GONE[code]) ? { stop: bye.reason } : null;
}

/**
 * @param {number} code
 * @param {Answer} answer
 * @returns {Verdict}
 */
export function verdictOfAnswer(code, answer) {
  if (answer && [401, 403, 404].includes(answer.status)) return { stop: answer.reason ?? answer.code ?? `http_${answer.status}` };
  return GONE[code] ? { stop: GONE[code] } : { retry_after_ms: 0 };
}

/**
 * Exponential back-off with full jitter: a thousand clients of a restarted gateway come back spread out.
 * https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export class Backoff {
  #tries = 0;

  /** @param {{random: () => number, first_ms?: number, longest_ms?: number}} options */
  constructor({ random, first_ms = 500, longest_ms = 15_000 }) {
    this.random = random;
    this.first_ms = first_ms;
    this.longest_ms = longest_ms;
  }

  /** How long to wait before the next try, in ms. @param {number} at_least_ms */
  next(at_least_ms = 0) {
    const window = Math.min(this.longest_ms, this.first_ms * 2 ** this.#tries);
    this.#tries += 1;
    return Math.round(at_least_ms + this.random() * window);
  }

  reset() {
    this.#tries = 0;
  }
}
