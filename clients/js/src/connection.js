/**
 * One stream socket that stays: it reconnects until the stream has ended, and says why it did.
 *
 * Exactly one timer runs while it lives, none after it ended.
 */

import { announce } from "./announce.js";
import { Mailbox } from "./mailbox.js";
import { readMessage } from "./protocol.js";
import { Backoff, verdictOfAnswer, verdictOfClose } from "./reconnect.js";

/** @import { Bye, Message } from "./protocol.js" */
/** @import { Answer, Verdict } from "./reconnect.js" */
/**
 * @typedef {"connecting" | "open" | "waiting" | "ended"} State
 * @typedef {{url: string, protocols: string[], ask: () => Promise<Answer>}} Target
 *   `ask` asks `GET /stream/{id}`; it never rejects
 * @typedef {{
 *   WebSocket: new (url: string, protocols?: string[]) => WebSocket,
 *   RTCPeerConnection?: new (configuration?: RTCConfiguration) => RTCPeerConnection,
 *   codecs?: (direction: "sender" | "receiver") => RTCRtpCodec[],
 *   fetch: typeof fetch,
 *   now: () => number,
 *   random: () => number,
 *   setTimeout: (task: () => void, ms: number) => any,
 *   clearTimeout: (timer: any) => void,
 * }} Runtime  what the outside world is; tests bring their own
 */

const QUIET_MS = 10_000; // nothing heard for so long: ask with a ping
const DEAD_MS = 30_000; // still nothing: a half-open connection, or one that never opens
const WAKE_MS = 3_000; // a line that answers nothing for so long after a sleep is dead
const STEADY_MS = 5_000; // a connection that lasted so long makes the next back-off start over
const READER_ITEMS = 64;
export const OPEN = 1; // WebSocket.OPEN

/**
 * Events: one per message of the server, named by its type, with the message in `detail`; `any` for each of them;
 * `state` whenever `state`, `reason` or `retry_ms` changed. Iterate it for the messages in order instead.
 */
export class Connection extends EventTarget {
  /** @type {State} */
  state = "connecting";
  /** Why it waits or ended. @type {string | null} */
  reason = null;
  /** How long it waits before the next try. @type {number | null} */
  retry_ms = null;
  /** Messages that could not be read. */
  ignored = 0;

  /** @type {WebSocket | null} */
  _socket = null;
  #target;
  #backoff;
  /** @type {any} */
  #timer = null;
  /** @type {Bye | null} */
  #bye = null;
  #openedAt = 0;
  #heardAt = 0;
  /** @type {Set<Mailbox<Message>>} */
  #readers = new Set();
  /** @type {(reason: string) => void} */
  #resolve = () => {};

  /** @param {Target} target @param {Runtime} runtime */
  constructor(target, runtime) {
    super();
    this.#target = target;
    this._runtime = runtime;
    this.#backoff = new Backoff({ random: runtime.random });
    /** Resolves with the reason when it is over for good. @type {Promise<string>} */
    this.ended = new Promise((resolve) => (this.#resolve = resolve));
    this.#connect();
  }

  /** Leave. Safe to call again. */
  close() {
    this.#end("closed");
  }

  /** Do not wait out the back-off: the network is back. */
  retryNow() {
    if (this.state === "waiting") this.#connect();
  }

  /** The page slept, or the network is another one: go on at once, or make sure that the line still lives. */
  wake() {
    if (this.state !== "open") return this.retryNow();
    const asked = this.#heardAt = this._runtime.now();
    this.say({ type: "ping" });
    this.#later(WAKE_MS, () => (this.#heardAt > asked ? this.#watch() : this.#lose(1006)));
  }

  /** @param {object} message  goes out if the socket is open; it is never kept for later */
  say(message) {
    if (this._socket?.readyState === OPEN) this._socket.send(JSON.stringify(message));
  }

  [Symbol.asyncIterator]() {
    /** @type {Mailbox<Message>} */
    const reader = new Mailbox(READER_ITEMS, () => this.#readers.delete(reader));
    if (this.state === "ended") reader.close();
    else this.#readers.add(reader);
    return reader;
  }

  /** The socket is open. */
  _opened() {}

  /** @param {Message} _message */
  _received(_message) {}

  /** The socket is gone. */
  _lost() {}

  #connect() {
    this.#bye = null;
    this.#openedAt = 0;
    this.#heardAt = this._runtime.now();
    const socket = new this._runtime.WebSocket(this.#target.url, this.#target.protocols);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#open();
    socket.onmessage = ({ data }) => this.#hear(data);
    socket.onclose = ({ code }) => this.#lose(code);
    this._socket = socket;
    this.#become("connecting", this.reason);
    this.#later(QUIET_MS, () => this.#watch());
  }

  #open() {
    this.#openedAt = this.#heardAt = this._runtime.now();
    this._opened();
    this.#become("open", null);
  }

  /** @param {string | ArrayBuffer} data */
  #hear(data) {
    this.#heardAt = this._runtime.now();
    const message = readMessage(data);
    if (message === null) {
      this.ignored += 1;
      return;
    }
    if (message.type === "bye") this.#bye = /** @type {Bye} */ (message);
    this._received(message);
    for (const reader of this.#readers) reader.put(message);
    announce(this, message);
  }

  /** A browser answers no ping of its own and TCP may not notice for minutes that the other side is gone. */
  #watch() {
    const quiet = this._runtime.now() - this.#heardAt;
    if (quiet >= DEAD_MS) return this.#lose(1006);
    if (quiet >= QUIET_MS) this.say({ type: "ping" });
    this.#later(QUIET_MS, () => this.#watch());
  }

  /** @param {number} code */
  async #lose(code) {
    const steady = this.#openedAt > 0 && this._runtime.now() - this.#openedAt >= STEADY_MS;
    if (steady) this.#backoff.reset();
    this.#drop();
    this._lost();
    const reason = this.#bye?.reason ?? `disconnected (${code})`;
    const verdict = verdictOfClose(code, this.#bye) ?? (await this.#ask(code, reason));
    if (this.state === "ended") return;
    if ("stop" in verdict) this.#end(verdict.stop);
    else this.#wait(verdict.retry_after_ms, reason);
  }

  /** @param {number} code @param {string} reason @returns {Promise<Verdict>} */
  async #ask(code, reason) {
    this.#become("connecting", reason);
    return verdictOfAnswer(code, await this.#target.ask());
  }

  /** @param {number} at_least_ms @param {string} reason */
  #wait(at_least_ms, reason) {
    this.retry_ms = this.#backoff.next(at_least_ms);
    this.#become("waiting", reason);
    this.#later(this.retry_ms, () => this.#connect());
  }

  /** @param {string} reason */
  #end(reason) {
    if (this.state === "ended") return;
    this.#drop();
    this.#become("ended", reason);
    for (const reader of this.#readers) reader.close();
    this.#resolve(reason);
  }

  /** Forget the socket without waiting for its close handshake, which a dead peer never answers. */
  #drop() {
    this._runtime.clearTimeout(this.#timer);
    this.#timer = null;
    const socket = this._socket;
    this._socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
  }

  /** @param {State} state @param {string | null} reason */
  #become(state, reason) {
    if (state !== "waiting") this.retry_ms = null;
    this.state = state;
    this.reason = reason;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, reason, retry_ms: this.retry_ms } }));
  }

  /** @param {number} ms @param {() => void} task */
  #later(ms, task) {
    this._runtime.clearTimeout(this.#timer);
    this.#timer = this._runtime.setTimeout(task, ms);
  }
}
