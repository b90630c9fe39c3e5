/** The live streams to choose from. */

import { $, make } from "./panels.js";

/** @import { Framegate } from "../../clients/js/src/framegate.js" */
/** @typedef {{stream_id: string, name?: string | null, state?: string}} LiveStream */

export class StreamList {
  #shown = "";

  /** @param {Framegate} gateway @param {(id: string) => void} onChoose */
  constructor(gateway, onChoose) {
    this.gateway = gateway;
    this.onChoose = onChoose;
  }

  /** Ask the gateway and show what it says; the answer is a word on it. */
  async refresh() {
    try {
      const streams = await this.gateway.list();
      this.#show(streams);
      return streams.length ? "Choose a live stream" : "No live stream. Start one, or enter its id above.";
    } catch (error) {
      this.#show([]);
      return `The gateway does not answer: ${error instanceof Error ? error.message : error}`;
    }
  }

  clear() {
    this.#show([]);
  }

  /** Replaced only when something changed, or the focus would be lost every few seconds. @param {LiveStream[]} streams */
  #show(streams) {
    const seen = JSON.stringify(streams.map(({ stream_id, name, state }) => [stream_id, name, state]));
    if (seen === this.#shown) return;
    this.#shown = seen;
    $("stream-ids").replaceChildren(...streams.map(({ stream_id }) => new Option(stream_id)));
    $("streams").replaceChildren(...streams.map((stream) => this.#item(stream)));
  }

  /** @param {LiveStream} stream */
  #item({ stream_id, name, state }) {
    const button = make("button", name || stream_id);
    button.type = "button";
    button.append(make("small", state ?? ""));
    button.onclick = () => this.onChoose(stream_id);
    const item = make("li");
    item.append(button);
    return item;
  }
}
