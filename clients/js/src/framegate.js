/**
 * The Framegate client: open a stream, publish pictures to it, watch what is seen.
 *
 *     const gateway = new Framegate("http://localhost:8000");
 *     const stream = await gateway.request({ analyzers: ["smoking"] });
 *     const camera = gateway.publish(stream);
 *     const viewer = gateway.watch(stream, { frames: "binary" });
 *     viewer.addEventListener("result", ({ detail }) => console.log(detail.seq, detail.analyzers));
 *
 * Plain ES modules, no dependency; browsers and Node 22 bring all it needs.
 */

import { TrackPublisher, VideoWatch } from "./either.js";
import { SUBPROTOCOL } from "./protocol.js";
import { Publisher } from "./publish.js";
import { Watch } from "./watch.js";
import { WhepViewer } from "./whep.js";
import { WhipPublisher } from "./whip.js";

export { Connection } from "./connection.js";
export { Mailbox } from "./mailbox.js";
export { packFrame, readFrame, readMessage, SUBPROTOCOL } from "./protocol.js";
export { Publisher, TrackPublisher, VideoWatch, Watch, WhepViewer, WhipPublisher };

/** @import { Runtime, Target } from "./connection.js" */
/** @import { Transport } from "./either.js" */
/** @import { Desk } from "./peer.js" */
/** @import { Wanted } from "./watch.js" */
/** @import { Shape } from "./whip.js" */
/** @import { Answer } from "./reconnect.js" */
/**
 * @typedef {{analyzers?: string[] | null, name?: string, options?: Record<string, object>, grace_s?: number,
 *   max_fps?: number}} StreamOptions
 * @typedef {{stream_id: string, stream_token: string, websocket_url: string, video_url: string, viewer_url: string,
 *   snapshot_url: string, expires_at: string | null, [key: string]: unknown}} Stream
 * @typedef {string | (Pick<Stream, "stream_id" | "websocket_url"> & {whip_url?: unknown, whep_url?: unknown})} StreamRef
 *   its id, or what `request` answered
 */

/** A refusal of the gateway: its problem document (RFC 9457) as an error. */
export class FramegateError extends Error {
  /** @param {number} status @param {{[key: string]: any}} problem @param {number | null} retry_after_s */
  constructor(status, problem, retry_after_s = null) {
    super(problem.detail ?? problem.title ?? `HTTP ${status}`);
    this.name = "FramegateError";
    this.status = status;
    /** @type {string | undefined} */
    this.code = problem.code;
    /** Why the session ended, if it did. @type {string | undefined} */
    this.reason = problem.reason;
    this.retry_after_s = retry_after_s;
  }
}

export class Framegate {
  /**
   * @param {string | URL} base  where the gateway answers, with its base path if it has one; may be relative to the page
   * @param {{headers?: Record<string, string>, runtime?: Partial<Runtime>}} options
   *   `headers` go with every request, such as `Authorization`
   */
  constructor(base = "/", { headers = {}, runtime = {} } = {}) {
    this.base = new URL(String(base).replace(/\/*$/, "/"), globalThis.location?.href);
    this.headers = headers;
    this.runtime = { ...platform(), ...runtime };
  }

  /** Open a stream. @param {StreamOptions} [options] @returns {Promise<Stream>} */
  async request(options = {}) {
    return (await this.#call("POST", "stream/request", options)).json();
  }

  /** The live streams. @returns {Promise<{stream_id: string, name: string | null, state: string, [key: string]: any}[]>} */
  async list() {
    return (await (await this.#call("GET", "stream")).json()).items;
  }

  /** @param {string} id @returns {Promise<{stream_id: string, state: string, [key: string]: any}>} */
  async status(id) {
    return (await this.#call("GET", streamPath(id))).json();
  }

  /** Switch analyzers, pause, set zones. @param {string} id @param {object} changes @returns {Promise<any>} */
  async update(id, changes) {
    return (await this.#call("PATCH", streamPath(id), changes)).json();
  }

  /** The latest picture. @param {string} id @param {{draw?: "boxes"}} options @returns {Promise<Blob>} */
  async snapshot(id, { draw } = {}) {
    return (await this.#call("GET", `${streamPath(id)}/snapshot.jpg${draw ? `?draw=${draw}` : ""}`)).blob();
  }

  /** End the stream, whatever its state. @param {string} id */
  async delete(id) {
    await this.#call("DELETE", streamPath(id));
  }

  /** @param {StreamRef} stream @param {Wanted} wanted */
  watch(stream, wanted = {}) {
    return new Watch(this.#target(stream, []), this.runtime, wanted);
  }

  /**
   * @param {StreamRef} stream
   * @param {{resume?: string}} options  `resume`: the `resume_token` of an earlier publisher of this stream
   */
  publish(stream, options = {}) {
    return new Publisher(this.#target(stream, [SUBPROTOCOL]), this.runtime, options);
  }

  /**
   * Publish a camera's track: by WebRTC, and by WebSocket when that does not work (then `send` pictures while it is `ready`).
   *
   * @param {StreamRef} stream
   * @param {{track: MediaStreamTrack | null, transport?: Transport, resume?: string, shape?: Shape}} options
   *   `transport`: what to begin with
   */
  publishTrack(stream, options) {
    const ways = {
      /** @param {MediaStreamTrack} track @param {Shape} shape @param {string | null} resume */
      whip: (track, shape, resume) => this.whip(stream, { track, shape, resume }),
      /** @param {string | null} resume */
      publish: (resume) => this.publish(stream, { resume: resume ?? undefined }),
      watch: () => this.watch(stream),
    };
    return new TrackPublisher(this.runtime, ways, options);
  }

  /**
   * Watch a stream's pictures and messages: by WebRTC, and by WebSocket when that does not work.
   *
   * @param {StreamRef} stream
   * @param {{video: HTMLVideoElement, transport?: Transport}} options  the element plays what comes by WebRTC
   */
  watchVideo(stream, options) {
    const ways = {
      /** @param {HTMLVideoElement} video */
      whep: (video) => this.whep(stream, { video }),
      watch: () => this.watch(stream, { frames: "binary" }),
    };
    return new VideoWatch(this.runtime, ways, options);
  }

  /**
   * Publish by WebRTC and by nothing else.
   *
   * @param {StreamRef} stream @param {{track: MediaStreamTrack, shape?: Shape, resume?: string | null}} options
   */
  whip(stream, options) {
    return new WhipPublisher(this.#desk(stream, "whip"), this.runtime, options);
  }

  /** Watch by WebRTC and by nothing else. @param {StreamRef} stream @param {{video: HTMLVideoElement}} options */
  whep(stream, options) {
    return new WhepViewer(this.#desk(stream, "whep"), this.runtime, options);
  }

  /** The address of something the gateway named, such as a `snapshot_url`. @param {string} path @returns {URL} */
  url(path) {
    // A gateway behind a proxy may not know its base path and answer from the root.
    const lacksBase = /^\/(?!\/)/.test(path) && !path.startsWith(this.base.pathname);
    return new URL(lacksBase ? path.slice(1) : path, this.base);
  }

  /** @param {StreamRef} stream @param {string[]} protocols @returns {Target} */
  #target(stream, protocols) {
    const id = typeof stream === "string" ? stream : stream.stream_id;
    const url = this.url(typeof stream === "string" ? `ws/${streamPath(id)}` : stream.websocket_url);
    url.protocol = url.protocol.replace(/^http/, "ws");
    return { url: url.href, protocols, ask: () => this.#ask(id) };
  }

  /** @param {StreamRef} stream @param {"whip" | "whep"} what @returns {Desk} */
  #desk(stream, what) {
    const named = typeof stream === "string" ? undefined : stream[`${what}_url`];
    const id = typeof stream === "string" ? stream : stream.stream_id;
    const endpoint = this.url(typeof named === "string" ? named : `${streamPath(id)}/${what}`);
    return { endpoint, resolve: (location) => this.url(location), send: (...request) => this.#send(...request) };
  }

  /** @param {string} id @returns {Promise<Answer>} */
  async #ask(id) {
    try {
      await this.#call("GET", streamPath(id));
      return { status: 200 };
    } catch (error) {
      return error instanceof FramegateError ? error : null;
    }
  }

  /** @param {string} method @param {string} path @param {object} [body] */
  async #call(method, path, body) {
    const json = body && { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
    return this.#send(method, new URL(path, this.base), json);
  }

  /** Rejects with a `FramegateError` for a refusal. @type {Desk["send"]} */
  async #send(method, url, more = {}, limit_ms = CALL_MS) {
    const { fetch, setTimeout, clearTimeout } = this.runtime;
    const headers = { .../** @type {Record<string, string>} */ (more.headers), ...this.headers };
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), limit_ms);
    try {
      const answer = await fetch(url, { ...more, method, headers, signal: limit.signal });
      if (!answer.ok) throw await refusalOf(answer);
      return answer;
    } finally {
      clearTimeout(timer);
    }
  }
}

const CALL_MS = 10_000;

/** @param {Response} answer */
async function refusalOf(answer) {
  const problem = await answer.json().catch(() => ({}));
  return new FramegateError(answer.status, problem, Number(answer.headers.get("Retry-After")) || null);
}

/** @param {string} id */
function streamPath(id) {
  return `stream/${encodeURIComponent(id)}`;
}

/** @returns {Runtime} */
function platform() {
  return {
    WebSocket: globalThis.WebSocket,
    RTCPeerConnection: globalThis.RTCPeerConnection,
    codecs: (direction) => (direction === "sender" ? globalThis.RTCRtpSender : globalThis.RTCRtpReceiver)?.getCapabilities?.("video")?.codecs ?? [],
    fetch: (...request) => globalThis.fetch(...request),
    now: () => performance.now(),
    random: Math.random,
    setTimeout: (task, ms) => globalThis.setTimeout(task, ms),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
  };
}
