/** A viewer: results, events and, if it asks for them, pictures of one stream. */

import { Connection } from "./connection.js";

/** @import { Runtime, Target } from "./connection.js" */
/**
 * @typedef {"none" | "binary" | "base64"} Pictures
 * @typedef {"results" | "events" | "status" | "messages"} Topic
 * @typedef {{frames?: Pictures, topics?: Topic[]}} Wanted  without `topics`, all of them
 */

export class Watch extends Connection {
  #wanted;

  /** @param {Target} target @param {Runtime} runtime @param {Wanted} wanted */
  constructor(target, runtime, wanted) {
    super(target, runtime);
    this.#wanted = wanted;
  }

  /** Ask for something else from now on. @param {Wanted} wanted */
  subscribe(wanted) {
    this.#wanted = { ...this.#wanted, ...wanted };
    this._opened();
  }

  _opened() {
    this.say({ type: "subscribe", frames: "none", ...this.#wanted });
  }
}
