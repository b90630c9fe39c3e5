import assert from "node:assert/strict";
import { test } from "node:test";

import { Pacer } from "../src/pacer.js";
import { vectors } from "./doubles.js";

/** What happened to a picture offered at `now`. */
function offer(pacer, now) {
  const dropped = pacer.refusal(now);
  return dropped === null ? { sent: pacer.take(now) } : { dropped };
}

for (const { name, steps } of vectors("pacing.json")) {
  test(`a publisher keeps the pace: ${name}`, () => {
    const pacer = new Pacer();
    for (const { do: what, message, at, ...expected } of steps) {
      const now = at * 1000;
      if (what === "offer") assert.deepEqual(offer(pacer, now), expected, `at ${at} s`);
      else if (what === "ack") pacer.ack(message, now);
      else if (what === "hello") pacer.hello(message);
      else if (what === "slow_down") pacer.slowDown(message);
      else pacer.disconnect();
    }
  });
}
