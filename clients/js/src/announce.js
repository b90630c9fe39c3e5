/** How messages of the gateway reach those who listen, whatever way they came. */

/** @import { Message } from "./protocol.js" */

/** Messages that are events under their own name; all of them are also `any`. */
export const MESSAGES = ["hello", "result", "event", "status", "message", "subscribed", "pong", "error", "ack", "slow_down", "bye", "frame"];

/** @param {EventTarget} target @param {Message} message */
export function announce(target, message) {
  target.dispatchEvent(new CustomEvent("any", { detail: message }));
  if (MESSAGES.includes(message.type)) target.dispatchEvent(new CustomEvent(message.type, { detail: message }));
}
