/** Fakes we own: a clock that moves when told, a socket that does as told, a gateway that answers as told. */

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

/** A world with its own time. `random` is 0.5 unless set; `rest` is what the gateway answers to any request. */
export class World {
  now = 0;
  random = 0.5;
  rest = { status: 200, body: {} };
  requests = [];
  sockets = [];
  timers = new Map();
  #ids = 0;

  get socket() {
    return this.sockets.at(-1);
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
      fetch: async (url, init = {}) => {
        world.requests.push({ url: String(url), method: init.method, body: init.body, headers: init.headers });
        if (world.rest === "down") throw new TypeError("fetch failed");
        const { status, body = {}, headers = {} } = world.rest;
        return new Response(status === 204 ? null : JSON.stringify(body), { status, headers });
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
