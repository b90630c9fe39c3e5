/** Fakes we own: a clock that moves when told, sockets and peer connections that do as told, a gateway that answers as told. */

import { readFileSync } from "node:fs";

/** @param {string} file */
export function vectors(file) {
  return JSON.parse(readFileSync(new URL(`../../../tests/vectors/${file}`, import.meta.url), "utf8")).vectors;
}

/** @param {string} text */
export const bytes = (text) => Uint8Array.from(Buffer.from(text, "hex"));

/** Lets everything that is already decided happen. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

export class FakeSocket {
  readyState = 0;
  bufferedAmount = 0;
  binaryType = "blob";
  sent = [];
  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
  }

  send(data) {
    this.sent.push(data);
  }

  close() {
    this.readyState = 3;
  }

  // What the other side does:

  open() {
    this.readyState = 1;
    this.onopen?.();
  }

  say(message) {
    this.onmessage?.({ data: typeof message === "string" || message instanceof Uint8Array ? message : JSON.stringify(message) });
  }

  async drop(code = 1006) {
    this.readyState = 3;
    this.onclose?.({ code });
    await settled();
  }

  get messages() {
    return this.sent.filter((data) => typeof data === "string").map((text) => JSON.parse(text));
  }
}

/** A peer connection: what was done with it, in order, and what its other side and its network do. */
export class FakePeer {
  connectionState = "new";
  localDescription = null;
  stats = [];
  done = [];
  channels = [];
  transceivers = [];
  closed = false;

  getConfiguration = () => this.configuration ?? {};
  setConfiguration = (configuration) => {
    this.configuration = configuration;
    this.done.push("configure");
  };

  addTransceiver(what, options) {
    const encodings = structuredClone(options.sendEncodings ?? []);
    const sender = {
      track: what,
      getParameters: () => ({ encodings: structuredClone(encodings) }),
      setParameters: async (parameters) => void encodings.splice(0, 1, ...parameters.encodings),
      replaceTrack: async (track) => (sender.track = track),
    };
    this.transceivers.push({ what, options, sender, encodings });
    return this.transceivers.at(-1);
  }

  createDataChannel(label) {
    this.channels.push({ label });
    return this.channels.at(-1);
  }

  createOffer = async () => ({ type: "offer", sdp: OFFER });
  setLocalDescription = async (description) => {
    this.localDescription = description;
    this.done.push("local");
  };
  setRemoteDescription = async ({ sdp }) => void this.done.push(`remote ${sdp}`);
  getStats = async () => new Map(this.stats.map((one, n) => [n, one]));

  close() {
    this.closed = true;
  }

  // What the network and the other side do:

  async become(state) {
    this.connectionState = state;
    this.onconnectionstatechange?.();
    await settled();
  }

  find(candidate) {
    this.onicecandidate?.({ candidate: candidate && { candidate } });
  }

  tell(message) {
    this.channels[0].onmessage({ data: JSON.stringify(message) });
  }
}

export const OFFER = [
  "v=0", "a=group:BUNDLE 0", "m=video 9 UDP/TLS/RTP/SAVPF 96", "a=ice-ufrag:u", "a=ice-pwd:p", "a=mid:0", "",
].join("\r\n");

/**
 * A world with its own time. `random` is 0.5 unless set; `rest` is what the gateway answers to any request, or a function
 * of the request that says so.
 */
export class World {
  now = 0;
  random = 0.5;
  rest = { status: 200, body: {} };
  requests = [];
  sockets = [];
  peers = [];
  timers = new Map();
  #ids = 0;

  get socket() {
    return this.sockets.at(-1);
  }

  get peer() {
    return this.peers.at(-1);
  }

  get runtime() {
    const world = this;
    return {
      WebSocket: class extends FakeSocket {
        constructor(url, protocols) {
          super(url, protocols);
          world.sockets.push(this);
        }
      },
      RTCPeerConnection: class extends FakePeer {
        constructor() {
          super();
          world.peers.push(this);
        }
      },
      fetch: async (url, init = {}) => {
        const request = { url: String(url), method: init.method, body: init.body, headers: init.headers };
        world.requests.push(request);
        const answer = typeof world.rest === "function" ? await world.rest(request) : world.rest;
        if (answer === "down") throw new TypeError("fetch failed");
        const { status, body = {}, headers = {} } = answer;
        const text = typeof body === "string" ? body : JSON.stringify(body);
        return new Response(status === 204 ? null : text, { status, headers });
      },
      now: () => world.now,
      random: () => world.random,
      setTimeout: (task, ms) => {
        world.timers.set(++world.#ids, { task, at: world.now + ms });
        return world.#ids;
      },
      clearTimeout: (id) => world.timers.delete(id),
    };
  }

  /** Time goes by. @param {number} ms */
  async pass(ms) {
    const until = this.now + ms;
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= until).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      this.timers.delete(due[0]);
      this.now = due[1].at;
      due[1].task();
      await settled();
    }
    this.now = until;
  }
}
