/**
 * A publisher: sends pictures in time or not at all.
 *
 * Latest wins: nothing is ever queued here. A picture that cannot go at once is dropped and counted, and the next one,
 * which is newer, gets its chance.
 */

import { Connection, OPEN } from "./connection.js";
import { HEADER_BYTES, packFrame, packHeader } from "./protocol.js";
import { Pacer } from "./pacer.js";

/** @import { Runtime, Target } from "./connection.js" */
/** @import { Ack, Hello, Message, SlowDown } from "./protocol.js" */
/** @typedef {{captured_at?: Date | number | null, meta?: Record<string, unknown>}} About  a number is epoch ms */

export class Publisher extends Connection {
  /** Pictures sent, over all connections. */
  sent = 0;
  /** Pictures dropped here, by reason; what the gateway dropped is in its acks. */
  dropped = { disconnected: 0, credits: 0, pace: 0, backlog: 0, size: 0 };
  /** Bytes sent, over all connections. */
  bytes = 0;
  /** The largest picture the gateway takes. @type {number} */
  max_bytes = Infinity;
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
    if (this._socket?.readyState !== OPEN) return "disconnected"; // a socket that is closing takes nothing
    return this.#pacer.refusal(this._runtime.now()) ?? (this._socket.bufferedAmount ? "backlog" : null);
  }

  get ready() {
    return this.refusal === null;
  }

  /** As `ready`, for one picture that is there: if it may not go now, it is counted as dropped. */
  offer() {
    const refusal = this.refusal;
    if (refusal !== null) this.dropped[refusal] += 1;
    return refusal === null;
  }

  /** Pictures the gateway has taken: `sent` = `acked` + `lost` + `on_the_way`. */
  get acked() {
    return this.#pacer.acked;
  }

  /** Pictures that broke off with a line. */
  get lost() {
    return this.#pacer.lost;
  }

  /** Pictures of which nothing is known yet. */
  get on_the_way() {
    return this.#pacer.onTheWay;
  }

  /** From the sending of a picture to its ack, the last time. @type {number | null} */
  get round_trip_ms() {
    return this.#pacer.round_trip_ms;
  }

  /**
   * Send one JPEG now, or drop it. The number it went under is the `seq` of its results; null if it was dropped.
   *
   * @param {Blob | ArrayBuffer | Uint8Array} jpeg
   * @param {About} about  captured now unless said otherwise; null for unknown
   * @returns {number | null}
   */
  send(jpeg, { captured_at = Date.now(), meta } = {}) {
    const bytes = jpeg instanceof Blob ? jpeg.size : jpeg.byteLength;
    const refusal = this.refusal ?? (bytes > this.max_bytes ? "size" : null);
    if (refusal !== null) {
      this.dropped[refusal] += 1;
      return null;
    }
    const seq = this.#pacer.take(this._runtime.now());
    const about = { seq, captured_us: captured_at === null ? null : Number(captured_at) * 1000, meta };
    this._socket?.send(join(about, jpeg));
    this.sent += 1;
    this.bytes += bytes;
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
        this.max_bytes = (message.limits?.max_message_bytes ?? Infinity) - HEADER_BYTES;
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
