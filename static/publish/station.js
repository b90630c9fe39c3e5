/**
 * The stream this page publishes to, from the first request to its end: asks for one, waits when the gateway is full,
 * goes on where it was after a cut, and opens a new one when the old one was lost and not ended on purpose. No DOM.
 */

/** @import { Memory } from "../viewer/memory.js" */
/** @import { Framegate, FramegateError, Publisher, Stream, StreamOptions, TrackPublisher } from "../../clients/js/src/framegate.js" */
/**
 * @typedef {"idle" | "asking" | "full" | "connecting" | "open" | "waiting" | "ended"} StationState
 *   full: the gateway takes no more streams now; the others as those of a connection
 * @typedef {Pick<Stream, "stream_id" | "websocket_url" | "viewer_url"> & {whip_url?: unknown}} Kept
 * @typedef {(stream: Kept, options: {resume?: string}) => Publisher | TrackPublisher} Publish
 */

/** Why a stream is over although nobody wished it: a new one may take its place. */
const LOST = ["not_found", "last_client_left", "never_joined", "lease_expired", "shutdown"];
const KEY = "framegate.publish";
const AGAIN_MS = 5000; // after a refusal that names no time
const GRACE_S = 60; // a phone in a pocket for a minute finds its stream again

/** Events: `state`; `publisher` when there is a new one, in `detail`. */
export class Station extends EventTarget {
  /** @type {StationState} */
  state = "idle";
  /** @type {string | null} */
  reason = null;
  /** When the next try is due, ms of the gateway's clock. @type {number | null} */
  retry_at = null;
  /** @type {Kept | null} */
  stream = null;
  /** @type {Publisher | TrackPublisher | null} */
  publisher = null;
  /** Whether another stream took the place of one that was lost. */
  replaced = false;
  #gateway;
  #open;
  #memory;
  /** @type {StreamOptions} */
  #wish = {};
  /** The stream is somebody else's: named in the page's address. */
  #given;
  /** @type {string | undefined} */
  #resume;
  /** The stream was asked for and has not said hello yet. */
  #fresh = false;
  /** @type {any} */
  #timer = null;

  /**
   * @param {Framegate} gateway
   * @param {{memory: Memory, stream_id?: string | null, publish?: Publish}} from  `publish`: how pictures go; by WebSocket, unless said otherwise
   */
  constructor(gateway, { memory, stream_id = null, publish = (stream, options) => gateway.publish(stream, options) }) {
    super();
    this.#gateway = gateway;
    this.#open = publish;
    this.#memory = memory;
    this.#given = stream_id !== null;
    this.#recall(stream_id);
  }

  get running() {
    return !["idle", "ended"].includes(this.state);
  }

  /** Publish, to the stream that there is or to a new one. @param {StreamOptions} wish */
  async start(wish) {
    this.#wish = wish;
    this.replaced = false;
    await this.#begin();
  }

  /** Leave the stream; for as long as it lives, `start` goes on with it. */
  stop() {
    this.#leave();
    this.#become("idle");
  }

  /** Leave the stream and end it for everybody. */
  async end() {
    const id = this.stream?.stream_id;
    this.stop();
    this.#forget();
    this.#become("idle");
    if (id) await this.#gateway.delete(id).catch(() => {}); // it may be over already
  }

  /** The page slept, or the network is back. */
  wake() {
    if (this.state === "full") void this.#begin();
    else this.publisher?.wake();
  }

  /** Change the stream, now and for those to come. Rejects with the gateway's refusal. @param {StreamOptions} wish */
  async change(wish) {
    this.#wish = { ...this.#wish, ...wish };
    if (this.stream) await this.#gateway.update(this.stream.stream_id, wish);
  }

  async #begin() {
    this.#gateway.runtime.clearTimeout(this.#timer);
    this.#become("asking");
    try {
      this.stream ??= await this.#request();
    } catch (error) {
      return this.#refused(error);
    }
    if (this.state === "asking") this.#publish(this.stream); // nobody has pressed stop meanwhile
  }

  async #request() {
    const stream = await this.#gateway.request({ grace_s: GRACE_S, ...this.#wish });
    this.#resume = undefined;
    this.#fresh = true;
    return stream;
  }

  /** @param {unknown} error */
  #refused(error) {
    if (this.state !== "asking") return;
    const { status = 0, code, retry_after_s = null, message } = /** @type {Partial<FramegateError>} */ (error);
    const again = [0, 429, 503].includes(status);
    if (!again) return this.#become("ended", code ?? message ?? null);
    this.#later(retry_after_s ? retry_after_s * 1000 : AGAIN_MS, status ? code ?? null : "unreachable");
  }

  /** @param {number} wait_ms @param {string | null} reason */
  #later(wait_ms, reason) {
    this.retry_at = this.#gateway.runtime.now() + wait_ms;
    this.#become("full", reason);
    this.#timer = this.#gateway.runtime.setTimeout(() => this.#begin(), wait_ms);
  }

  /** @param {Kept} stream */
  #publish(stream) {
    const publisher = this.#open(stream, { resume: this.#resume });
    this.publisher = publisher;
    publisher.addEventListener("hello", () => this.#keep());
    publisher.addEventListener("state", () => publisher === this.publisher && this.#follow(publisher));
    this.dispatchEvent(new CustomEvent("publisher", { detail: publisher }));
    this.#follow(publisher);
  }

  /** @param {Publisher | TrackPublisher} publisher */
  #follow({ state, reason, retry_ms }) {
    if (state === "ended") return this.#over(reason ?? "ended");
    this.retry_at = retry_ms === null ? null : this.#gateway.runtime.now() + retry_ms;
    if (state === "open") this.#keep();
    this.#become(state, reason);
  }

  /** @param {string} reason */
  #over(reason) {
    this.publisher = null;
    const gone = LOST.includes(reason) || reason === "deleted";
    if (gone && !this.#given) this.#forget();
    if (!gone || this.#given || reason === "deleted") return this.#become("ended", reason);
    this.replaced = true;
    if (this.#fresh) this.#later(AGAIN_MS, reason); // lost before its first word: not again and again at once
    else void this.#begin();
  }

  #leave() {
    this.#gateway.runtime.clearTimeout(this.#timer);
    const publisher = this.publisher;
    this.publisher = null;
    publisher?.close();
  }

  /** @param {string | null} stream_id */
  #recall(stream_id) {
    const kept = parse(this.#memory.getItem(KEY));
    if (stream_id !== null && kept?.stream?.stream_id !== stream_id) {
      const id = encodeURIComponent(stream_id);
      this.stream = { stream_id, websocket_url: `/ws/stream/${id}`, viewer_url: `/viewer?stream_id=${id}` };
    } else if (kept) [this.stream, this.#resume] = [kept.stream, kept.resume];
  }

  #keep() {
    this.#fresh = false;
    this.#resume = this.publisher?.resume_token ?? undefined;
    this.#memory.setItem(KEY, JSON.stringify({ stream: this.stream, resume: this.#resume }));
  }

  #forget() {
    if (!this.#given) this.stream = null;
    this.#resume = undefined;
    this.#memory.removeItem(KEY);
  }

  /** @param {StationState} state @param {string | null} [reason] */
  #become(state, reason = null) {
    this.state = state;
    this.reason = reason;
    if (state !== "full" && state !== "waiting") this.retry_at = null;
    this.dispatchEvent(new CustomEvent("state"));
  }
}

/** @param {string | null} text @returns {{stream: Kept, resume?: string} | null} */
function parse(text) {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}
