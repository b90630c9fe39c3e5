/**
 * One WebRTC connection to the gateway, made by posting an offer: what WHIP (RFC 9725) and WHEP have in common.
 *
 * One attempt, and nothing is tried twice: it opens, and when it ends it says why. Who goes on after that, and how, is
 * decided in either.js.
 */

import { fragmentOf, iceServersOf } from "./sdp.js";

/** @import { Runtime } from "./connection.js" */
/**
 * @typedef {(method: string, url: URL, more?: RequestInit, limit_ms?: number) => Promise<Response>} Send
 *   rejects with a `FramegateError` for a refusal, with another error when nobody answered
 * @typedef {{endpoint: URL, resolve: (location: string) => URL, send: Send}} Desk  where offers are posted
 * @typedef {{kind: string, [key: string]: any}} Stats
 */

const ANSWER_MS = 10_000; // the gateway may have to start the process that speaks WebRTC
const CONNECT_MS = 5_000; // from the answer until there is a way: UDP that is blocked never says so
const LEAVE_MS = 2_000;
const GONE_MS = 2_000; // a way that broke, which the browser says after some seconds, heals within this or not
const LOOK_MS = 1_000;
const GATHER_MS = 100; // candidates come in bursts, and go together
const PATIENT_MS = 5_000; // nothing moves for so long: media has stalled

/** Events: `state` whenever `state` or `reason` changed; `stats` once a second while it is open. */
export class Peer extends EventTarget {
  /** @type {"connecting" | "open" | "ended"} */
  state = "connecting";
  /** Why it ended: a code of the gateway, or `unreachable`, `timeout`, `ice`, `disconnected`, `stalled`, `unsupported`, `closed`. @type {string | null} */
  reason = null;
  /** @type {null} it never waits */
  retry_ms = null;

  /** What the gateway calls it, once it has answered; a secret. @type {string | null} */
  id = null;

  /** @type {RTCPeerConnection | null} */
  #line = null;
  #desk;
  /** Where the gateway keeps this connection. @type {URL | null} */
  #resource = null;
  #etag = "";
  /** @type {any} */
  #timer = null;
  /** @type {any} */
  #gathering = null;
  /** @type {string[]} */
  #candidates = [];
  #asking = false; // an offer is on its way, and its answer may name a resource
  /** @type {number | null} */
  #openedAt = null;
  #movedAt = 0;
  /** @type {(reason: string) => void} */
  #resolve = () => {};
  /** @type {() => void} */
  #release = () => {};

  /** @param {Desk} desk @param {Runtime} runtime */
  constructor(desk, runtime) {
    super();
    this.#desk = desk;
    this._runtime = runtime;
    /** Resolves with the reason when it is over. @type {Promise<string>} */
    this.ended = new Promise((resolve) => (this.#resolve = resolve));
    /** Resolves when the gateway has been told that it is over, or cannot be told. @type {Promise<void>} */
    this.released = new Promise((resolve) => (this.#release = resolve));
    queueMicrotask(() => void this.#begin()); // the fields of those who extend it are not there yet
  }

  /** How long it has been open, ms. */
  get open_ms() {
    return this.#openedAt === null ? 0 : this._runtime.now() - this.#openedAt;
  }

  /** Leave. Safe to call again. */
  close() {
    this._end("closed");
  }

  /** End it as one that the other side has left. */
  break() {
    this._end("disconnected");
  }

  /** What goes with the offer. @returns {Record<string, string>} */
  _headers() {
    return {};
  }

  /** What is to be sent and received. @param {RTCPeerConnection} _line */
  _prepare(_line) {}

  /** There is a way. */
  _opened() {}

  /** What the statistics say, once a second; whether media moves, or has no reason to. @param {Stats[]} _stats @returns {boolean} */
  _moves(_stats) {
    return true;
  }

  async #begin() {
    if (this.#over()) return;
    try {
      const line = this.#make();
      const offer = await line.createOffer();
      const answer = await this.#post(offer.sdp ?? "");
      if (this.#over()) return;
      this.#later(CONNECT_MS, () => this._end("ice"));
      await line.setLocalDescription(offer); // only now, so that the gateway's ICE servers are asked too
      await line.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      this._end(reasonOf(error));
    } finally {
      if (this.#over()) void this.#leave();
    }
  }

  #over() {
    return this.state === "ended";
  }

  #make() {
    const { RTCPeerConnection } = this._runtime;
    if (!RTCPeerConnection) throw new Unsupported();
    const line = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.#line = line;
    line.onconnectionstatechange = () => this.#follow(line.connectionState);
    line.onicecandidate = ({ candidate }) => this.#gather(candidate);
    this._prepare(line);
    return line;
  }

  /** The answer. @param {string} offer */
  async #post(offer) {
    const { endpoint, resolve, send } = this.#desk;
    this.#asking = true;
    const headers = { "Content-Type": "application/sdp", ...this._headers() };
    const asked = send("POST", endpoint, { body: offer, headers }, ANSWER_MS);
    const answer = await asked.finally(() => (this.#asking = false));
    const resource = resolve(answer.headers.get("Location") ?? "");
    if (resource.origin !== endpoint.origin) throw new Error("the gateway sends its clients elsewhere"); // with our credential
    this.#resource = resource;
    this.id = resource.pathname.slice(resource.pathname.lastIndexOf("/") + 1);
    this.#etag = answer.headers.get("ETag") ?? "";
    const servers = iceServersOf(answer.headers.get("Link"));
    if (servers.length) this.#line?.setConfiguration({ ...this.#line.getConfiguration(), iceServers: servers });
    return answer.text();
  }

  /** @param {RTCPeerConnectionState} state */
  #follow(state) {
    if (this.#over()) return;
    if (state === "connected") return this.#open();
    if (state === "failed" || state === "closed") this._end(this.#openedAt === null ? "ice" : "disconnected");
    if (state === "disconnected") this.#later(GONE_MS, () => this._end("disconnected"));
  }

  #open() {
    this.#openedAt ??= this._runtime.now();
    this.#movedAt = this._runtime.now();
    this.#later(LOOK_MS, () => void this.#look());
    if (this.state === "open") return;
    this._opened();
    this.#become("open", null);
  }

  async #look() {
    const found = await this.#line?.getStats().catch(() => null);
    if (this.state !== "open" || this.#line?.connectionState !== "connected") return;
    const now = this._runtime.now();
    if (!found || this._moves([...found.values()])) this.#movedAt = now;
    this.dispatchEvent(new CustomEvent("stats"));
    if (now - this.#movedAt >= PATIENT_MS) return this._end("stalled");
    this.#later(LOOK_MS, () => void this.#look());
  }

  /** @param {RTCIceCandidate | null} candidate  null: that was the last one */
  #gather(candidate) {
    if (candidate?.candidate) this.#candidates.push(candidate.candidate);
    this._runtime.clearTimeout(this.#gathering);
    if (candidate === null) return this.#trickle(true);
    this.#gathering = this._runtime.setTimeout(() => this.#trickle(false), GATHER_MS);
  }

  /** The gateway finds most clients without: what it refuses of these is no reason to give up. @param {boolean} done */
  #trickle(done) {
    const sdp = this.#line?.localDescription?.sdp;
    const candidates = this.#candidates.splice(0);
    if (!this.#resource || !sdp || this.state !== "connecting" || (candidates.length === 0 && !done)) return;
    const headers = { "Content-Type": "application/trickle-ice-sdpfrag", ...(this.#etag && { "If-Match": this.#etag }) };
    this.#desk.send("PATCH", this.#resource, { body: fragmentOf(sdp, candidates, done), headers }).catch(() => {});
  }

  /** @param {string} reason */
  _end(reason) {
    if (this.state === "ended") return;
    this._runtime.clearTimeout(this.#timer);
    this._runtime.clearTimeout(this.#gathering);
    if (this.#line) this.#line.onconnectionstatechange = this.#line.onicecandidate = this.#line.ontrack = null;
    if (!this.#asking) void this.#leave();
    this.#become("ended", reason);
    this.#resolve(reason);
  }

  /** First the gateway is told, also by a page that is being closed; then the line goes. */
  async #leave() {
    const resource = this.#resource;
    this.#resource = null;
    if (resource) await this.#desk.send("DELETE", resource, { keepalive: true }, LEAVE_MS).catch(() => {});
    this.#line?.close();
    this.#line = null;
    this.#release();
  }

  /** @param {"open" | "ended"} state @param {string | null} reason */
  #become(state, reason) {
    this.state = state;
    this.reason = reason;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, reason, retry_ms: null } }));
  }

  /** @param {number} ms @param {() => void} task */
  #later(ms, task) {
    this._runtime.clearTimeout(this.#timer);
    this.#timer = this._runtime.setTimeout(task, ms);
  }
}

export class Unsupported extends Error {}

/** @param {unknown} error */
function reasonOf(error) {
  const { name, status, code } = /** @type {{name?: string, status?: number, code?: string}} */ (error);
  if (error instanceof Unsupported) return "unsupported";
  if (status !== undefined) return code ?? `http_${status}`;
  if (name === "AbortError" || name === "TimeoutError") return "timeout";
  return error instanceof TypeError ? "unreachable" : "sdp";
}
