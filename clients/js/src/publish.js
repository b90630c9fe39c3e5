/**
 * A publisher: sends pictures in time or not at all.
 *
 * Latest wins: nothing is ever queued here. A picture that cannot go at once is dropped and counted, and the next one,
 * which is newer, gets its chance.
 */

import { Connection } from "./connection.js";
import { packFrame, packHeader } from "./protocol.js";
import { Pacer } from "./pacer.js";

/** @import { Runtime, Target } from "./connection.js" */
/** @import { Ack, Hello, Message, SlowDown } from "./protocol.js" */
/** @typedef {{captured_at?: Date | number | null, meta?: Record<string, unknown>}} About  a number is epoch ms */

export class Publisher extends Connection {
  /** Pictures sent, over all connections. */
  sent = 0;
  /** Pictures dropped here, by reason; what the gateway dropped is in its acks. */
  dropped = { disconnected: 0, credits: 0, pace: 0, backlog: 0 };
  /** Takes the publisher's place over again, also after a page was reloaded. @type {string | null} */
  resume_token;

  #pacer = new Pacer();

  /** @param {Target} target @param {Runtime} runtime @param {{resume?: string}} options */
  constructor(target, runtime, { resume }) {
    super(target, runtime);
    this.resume_token = resume ?? null;
  }

  /** Why a picture offered now would be dropped, or null. Look here before spending time on encoding one. */
  get refusal() {
    return this.#pacer.refusal(this._runtime.now()) ?? (this._socket?.bufferedAmount ? "backlog" : null);
  }

  get ready() {
    return this.refusal === null;
  }

  /**
   * Send one JPEG now, or drop it. The number it went under is the `seq` of its results; null if it was dropped.
   *
   * @param {Blob | ArrayBuffer | Uint8Array} jpeg
   * @param {About} about  captured now unless said otherwise; null for unknown
   * @returns {number | null}
   */
  send(jpeg, { captured_at = Date.now(), meta } = {}) {
    const refusal = this.refusal;
    if (refusal !== null) {
      this.dropped[refusal] += 1;
      return null;
    }
    const seq = this.#pacer.take(this._runtime.now());
    const about = { seq, captured_us: captured_at === null ? null : Number(captured_at) * 1000, meta };
    this._socket?.send(join(about, jpeg));
    this.sent += 1;
    return seq;
  }

  _opened() {
    this.say({ type: "hello", acks: true, ...(this.resume_token && { resume: this.resume_token }) });
  }

  /** @param {Message} message */
  _received(message) {
    switch (message.type) {
      case "hello":
        this.resume_token = message.resume_token ?? this.resume_token;
        return this.#pacer.hello(/** @type {Hello} */ (message));
      case "ack":
        return this.#pacer.ack(/** @type {Ack} */ (message), this._runtime.now());
      case "slow_down":
        return this.#pacer.slowDown(/** @type {SlowDown} */ (message));
    }
  }

  _lost() {
    this.#pacer.disconnect();
  }
}

/**
 * A Blob stays where it is and is never copied into memory of the page.
 *
 * @param {Parameters<typeof packHeader>[0]} about
 * @param {Blob | ArrayBuffer | Uint8Array} jpeg
 */
function join(about, jpeg) {
  if (jpeg instanceof Blob) return new Blob([packHeader(about), jpeg]);
  return packFrame(about, jpeg instanceof Uint8Array ? jpeg : new Uint8Array(jpeg));
}
