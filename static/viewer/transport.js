/** By which way pictures go: the switch of a page, what it remembers, and the words when WebRTC did not work. */

import { keep, memory, recall } from "./memory.js";
import { $ } from "./panels.js";

/** @typedef {"webrtc" | "websocket"} Transport */

const KEY = "framegate.transport";

/** Why WebRTC is not used although it was wished. @type {Record<string, string>} */
const WHY = {
  ice: "found no way to the gateway; UDP may be blocked",
  timeout: "was not answered in time",
  unreachable: "was not answered",
  stalled: "stopped bringing pictures",
  disconnected: "broke off",
  unsupported: "is not in this browser",
  sdp: "could not be agreed on",
  not_found: "is not offered here",
  http_404: "is not offered here",
  http_405: "is not offered here",
  at_capacity: "has no room for one more",
  peer_unanswered: "was not answered in time",
};

/** @param {string} why */
export const wordsOfWhy = (why) => `WebRTC ${WHY[why] ?? `was refused: ${why.replaceAll("_", " ")}`}`;

/** Events: `change` when another way was chosen, or WebRTC is to be tried again. */
export class TransportChoice extends EventTarget {
  #kept = memory("localStorage");

  constructor() {
    super();
    const known = recall(this.#kept, KEY).wish;
    if (known === "websocket" || known === "webrtc") this.#radio(known).checked = true;
    $("transport").onchange = () => this.#chosen();
    $("transport-again").onclick = () => this.dispatchEvent(new CustomEvent("change"));
  }

  /** @returns {Transport} */
  get wish() {
    return this.#radio("websocket").checked ? "websocket" : "webrtc";
  }

  /** What came of it. @param {{transport: Transport, why: string | null} | null} now */
  show(now) {
    const why = now && this.wish === "webrtc" ? now.why : null;
    const text = why === null ? "" : `${wordsOfWhy(why)}. Pictures go by WebSocket.`;
    if ($("transport-text").textContent !== text) $("transport-text").textContent = text;
    $("transport-said").hidden = why === null;
  }

  #chosen() {
    keep(this.#kept, KEY, { wish: this.wish });
    this.dispatchEvent(new CustomEvent("change"));
  }

  /** @param {Transport} value @returns {HTMLInputElement} */
  #radio(value) {
    return $("transport").querySelector(`[value=${value}]`);
  }
}
