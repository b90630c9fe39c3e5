/**
 * WebRTC while it works, WebSocket when it does not: one stream, two ways, and those who listen need not care.
 *
 * WebRTC is tried first. If it does not come about, or its media stalls, the WebSocket carries on by itself; back to
 * WebRTC it goes only when somebody asks (`use`). A connection that worked and then broke is made once more by WebRTC:
 * a phone that slept, another network.
 */

import { announce, MESSAGES } from "./announce.js";

/** @import { Connection, Runtime } from "./connection.js" */
/** @import { Peer } from "./peer.js" */
/** @import { Message } from "./protocol.js" */
/** @import { Publisher } from "./publish.js" */
/** @import { Watch } from "./watch.js" */
/** @import { WhepViewer } from "./whep.js" */
/** @import { Shape, WhipPublisher } from "./whip.js" */
/** @typedef {"webrtc" | "websocket"} Transport */
/** @typedef {Peer | Connection} Way */

const KNOWN_MS = 3_000; // a connection that is so old and that the gateway does not know is over
const STEADY_MS = 10_000; // a WebRTC connection that lasted so long is worth another one
const RELEASE_MS = 2_000; // how long to wait until the gateway knows that the other way is over
const TAKEN_MS = [500, 1000, 2000, 4000]; // a gateway that does not know it yet gives the publisher's place away after 2 s

/** Events: those of a `Connection`; `transport` whenever `transport` or `why` changed. */
export class Either extends EventTarget {
  /** @type {Transport} */
  transport;
  /** Why it is not WebRTC although that was wished: the reason for which the attempt ended. @type {string | null} */
  why = null;
  /** @type {Way | null} */
  _way = null;
  #ended = "";
  #turn = 0; // of the way that counts; what an earlier one does is no news
  /** Pauses before each try to get the publisher's place back from ourselves. @type {number[]} */
  #takes = [];
  /** @type {any} */
  #timer = null;
  /** @type {(reason: string) => void} */
  #resolve = () => {};

  /** @param {Runtime} runtime @param {Transport} transport */
  constructor(runtime, transport) {
    super();
    this._runtime = runtime;
    this.transport = transport;
    /** Resolves with the reason when it is over for good. @type {Promise<string>} */
    this.ended = new Promise((resolve) => (this.#resolve = resolve));
    queueMicrotask(() => this.#ended || this._way || this.#begin());
  }

  /** @returns {"connecting" | "open" | "waiting" | "ended"} */
  get state() {
    return this.#ended ? "ended" : this._way?.state === "ended" ? "connecting" : this._way?.state ?? "connecting";
  }

  get reason() {
    return this.#ended || (this._way?.reason ?? null);
  }

  get retry_ms() {
    return this._way?.retry_ms ?? null;
  }

  /** Leave. Safe to call again. */
  close() {
    this.#end("closed");
  }

  retryNow() {
    if (this._way && "retryNow" in this._way) this._way.retryNow();
  }

  wake() {
    if (this._way && "wake" in this._way) this._way.wake();
  }

  /** Go on by this way, as somebody asked. @param {Transport} transport */
  use(transport) {
    if (this.#ended || (transport === this.transport && this.why === null)) return;
    this.why = null;
    void this.#change(transport);
  }

  /** @returns {Peer} */
  _byWebRtc() {
    throw new TypeError("to be said by who extends it");
  }

  /** @returns {Connection} */
  _byWebSocket() {
    throw new TypeError("to be said by who extends it");
  }

  /** The way has gone, or is another one. */
  _changed() {}

  #begin() {
    const way = (this._way = this.transport === "webrtc" ? this._byWebRtc() : this._byWebSocket());
    const turn = (this.#turn += 1);
    const counts = () => turn === this.#turn && !this.#ended;
    for (const type of [...MESSAGES, "any"]) {
      way.addEventListener(type, (event) => counts() && this.#pass(type, /** @type {CustomEvent} */ (event).detail));
    }
    way.addEventListener("stats", () => counts() && this.dispatchEvent(new CustomEvent("stats")));
    way.addEventListener("state", () => counts() && this.#follow(way));
    this._changed();
    this.#tell();
  }

  /** @param {string} type @param {Message} detail */
  #pass(type, detail) {
    if (type === "ack") this.#takes = [];
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** @param {Way} way */
  #follow(way) {
    if (way.state !== "ended") return this.#tell();
    const reason = way.reason ?? "ended";
    const pause = reason === "second_publisher" ? this.#takes.shift() : undefined;
    if (pause !== undefined) {
      this.#timer = this._runtime.setTimeout(() => this.#begin(), pause);
      this.#tell();
    } else if ("open_ms" in way) {
      const again = way.open_ms >= STEADY_MS && reason === "disconnected";
      this.why = again ? null : reason;
      void this.#change(again ? "webrtc" : "websocket");
    } else this.#end(reason);
  }

  /** One way ends before the other begins: a stream has one publisher. @param {Transport} transport */
  async #change(transport) {
    const turn = (this.#turn += 1);
    this._runtime.clearTimeout(this.#timer);
    const last = this._way;
    const held = last && ("id" in last ? last.id !== null : last.state === "open");
    this.#takes = held ? [...TAKEN_MS] : [];
    this.transport = transport;
    this._changed();
    last?.close();
    this.dispatchEvent(new CustomEvent("transport", { detail: { transport, why: this.why } }));
    this.#tell();
    if (last && "released" in last) await Promise.race([last.released, this.#pause(RELEASE_MS)]);
    this._runtime.clearTimeout(this.#timer);
    if (turn === this.#turn && !this.#ended) this.#begin();
  }

  /** @param {number} ms @returns {Promise<void>} */
  #pause(ms) {
    return new Promise((resolve) => (this.#timer = this._runtime.setTimeout(resolve, ms)));
  }

  /** @param {string} reason */
  #end(reason) {
    if (this.#ended) return;
    this.#ended = reason;
    this._runtime.clearTimeout(this.#timer);
    this._way?.close();
    this._changed();
    this.#tell();
    this.#resolve(reason);
  }

  /** For what only one of the ways can say. @param {string} reason */
  _end(reason) {
    this.#end(reason);
  }

  #tell() {
    const { state, reason, retry_ms } = this;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, reason, retry_ms } }));
  }
}

/**
 * @typedef {{whep: (video: HTMLVideoElement) => WhepViewer, watch: () => Watch}} ViewerWays
 */

/** Watches a stream: `frame` events have a `jpeg`, or under WebRTC the `picture`, which is the video element. */
export class VideoWatch extends Either {
  #ways;
  #video;

  /** @param {Runtime} runtime @param {ViewerWays} ways @param {{video: HTMLVideoElement, transport?: Transport}} options */
  constructor(runtime, ways, { video, transport = "webrtc" }) {
    super(runtime, transport);
    this.#ways = ways;
    this.#video = video;
  }

  _byWebRtc() {
    return this.#ways.whep(this.#video);
  }

  _byWebSocket() {
    return this.#ways.watch();
  }
}

/**
 * @typedef {{whip: (track: MediaStreamTrack, shape: Shape, resume: string | null) => WhipPublisher,
 *   publish: (resume: string | null) => Publisher, watch: () => Watch}} PublisherWays
 */

/**
 * Publishes a camera. Under WebRTC its track goes out as it is, and `ready` is false: there is nothing to send. Under
 * WebSocket it is a `Publisher`: make pictures while it is `ready`, and send them.
 *
 * Messages of the stream come either way; under WebRTC a socket that takes no pictures brings them.
 */
export class TrackPublisher extends Either {
  /** @type {string | null} */
  #resume;
  #ways;
  #track;
  /** @type {Shape} */
  #shape;
  /** Brings the messages under WebRTC. @type {Watch | null} */
  #messages = null;

  /** @param {Runtime} runtime @param {PublisherWays} ways
   * @param {{track: MediaStreamTrack | null, transport?: Transport, resume?: string, shape?: Shape}} options  no track: no WebRTC */
  constructor(runtime, ways, { track, transport = "webrtc", resume, shape = {} }) {
    super(runtime, track ? transport : "websocket");
    this.#ways = ways;
    this.#track = track;
    this.#shape = shape;
    this.#resume = resume ?? null;
  }

  /** Takes the publisher's place over again, by either way, also after a page was reloaded. */
  get resume_token() {
    return (this.whip ?? this.#socket)?.resume_token ?? this.#resume;
  }

  /** The WebRTC connection, if that is the way. @returns {WhipPublisher | null} */
  get whip() {
    return this._way && "packets_lost" in this._way ? /** @type {WhipPublisher} */ (this._way) : null;
  }

  /** The socket, if that is the way. @returns {Publisher | null} */
  get #socket() {
    return this._way && "offer" in this._way ? /** @type {Publisher} */ (this._way) : null;
  }

  get sent() {
    return this._way && "sent" in this._way ? /** @type {number} */ (this._way.sent) : 0;
  }

  get bytes() {
    return this._way && "bytes" in this._way ? /** @type {number} */ (this._way.bytes) : 0;
  }

  get acked() {
    return this.#socket?.acked ?? 0;
  }

  get lost() {
    return this.#socket?.lost ?? 0;
  }

  get on_the_way() {
    return this.#socket?.on_the_way ?? 0;
  }

  /** @returns {Partial<Publisher["dropped"]>} */
  get dropped() {
    return this.#socket?.dropped ?? {};
  }

  get max_bytes() {
    return this.#socket?.max_bytes ?? Infinity;
  }

  /** @returns {number | null} */
  get round_trip_ms() {
    return (this.whip ?? this.#socket)?.round_trip_ms ?? null;
  }

  get ready() {
    return this.#socket?.ready ?? false;
  }

  offer() {
    return this.#socket?.offer() ?? false;
  }

  /** @type {Publisher["send"]} */
  send(jpeg, about) {
    return this.#socket?.send(jpeg, about) ?? null;
  }

  /** Another camera. @param {MediaStreamTrack} track */
  async replaceTrack(track) {
    this.#track = track;
    await this.whip?.replaceTrack(track);
  }

  /** @param {Shape} shape */
  async reshape(shape) {
    this.#shape = shape;
    await this.whip?.reshape(shape);
  }

  wake() {
    super.wake();
    this.#messages?.wake();
  }

  _byWebRtc() {
    this.#resume = this.resume_token;
    const whip = this.#ways.whip(/** @type {MediaStreamTrack} */ (this.#track), this.#shape, this.#resume);
    whip.addEventListener("state", () => whip.state === "open" && this.#own());
    return whip;
  }

  _byWebSocket() {
    this.#resume = this.resume_token;
    return this.#ways.publish(this.#resume);
  }

  _changed() {
    const wanted = this.transport === "webrtc" && this.state !== "ended";
    if (wanted) return void (this.#messages ??= this.#listen());
    const messages = this.#messages;
    this.#messages = null; // from here on its end is no news
    messages?.close();
  }

  #listen() {
    const messages = this.#ways.watch();
    const counts = () => messages === this.#messages;
    messages.addEventListener("any", (event) => counts() && announce(this, /** @type {CustomEvent} */ (event).detail));
    messages.addEventListener("hello", () => counts() && this.#own());
    messages.addEventListener("status", (event) => counts() && this.#compare(/** @type {CustomEvent} */ (event).detail));
    messages.addEventListener("state", () => counts() && messages.state === "ended" && this._end(messages.reason ?? "ended"));
    return messages;
  }

  /** Say whose socket it is: the publisher's, who is no viewer. The word alone takes no place over, only frames would. */
  #own() {
    const id = this.whip?.id;
    if (id) this.#messages?.say({ type: "hello", resume: id });
  }

  /** The browser finds out some seconds later. @param {{publishers?: number}} status */
  #compare({ publishers }) {
    if (publishers === 0 && this.whip && this.whip.open_ms >= KNOWN_MS) this.whip.break();
  }
}
