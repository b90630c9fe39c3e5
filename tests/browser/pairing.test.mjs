/** Which picture is shown with whose boxes; run by `npm test` in clients/js. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Pairing } from "../../static/viewer/pairing.js";

const frame = (seq) => ({ type: "frame", seq, captured_us: null, captured_at: null, jpeg: new Uint8Array() });
const seen = (label) => ({ state: "ready", latency_ms: 20, age_ms: 30, detections: [{ label, score: 1, box: [0, 0, 1, 1] }] });
const result = (seq, analyzers) => ({ type: "result", seq, analyzers });

/** A pairing that showed picture 0, knows these analyzers since then and got these pictures, 100 ms apart. */
function watching({ pictures = [], known = [], mode = "step" }) {
  const pairing = new Pairing();
  pairing.mode = mode;
  pairing.picture(frame(0), 0);
  pairing.next(0);
  for (const name of known) pairing.result(result(0, { [name]: seen(name) }), 0);
  for (const seq of pictures) pairing.picture(frame(seq), seq * 100);
  return pairing;
}

const shown = (pair) => pair && { seq: pair.frame.seq, by: Object.keys(pair.results) };

test("the first picture is shown at once", () => {
  const pairing = new Pairing();
  pairing.picture(frame(7), 0);
  assert.deepEqual(shown(pairing.next(0)), { seq: 7, by: [] });
});

test("a picture waits for its own result", () => {
  const pairing = watching({ pictures: [1, 2, 3], known: ["objects"] });
  assert.equal(pairing.next(300), null);
  pairing.result(result(2, { objects: seen("a") }), 320);
  assert.deepEqual(shown(pairing.next(320)), { seq: 2, by: ["objects"] });
  assert.equal(pairing.next(320), null);
});

test("a picture waits for everybody who still looks at it", () => {
  const pairing = watching({ pictures: [1, 2], known: ["motion", "objects"] });
  pairing.result(result(1, { motion: seen("m") }), 200);
  assert.equal(pairing.next(200), null);
  pairing.result(result(1, { objects: seen("o") }), 300);
  assert.deepEqual(shown(pairing.next(300)), { seq: 1, by: ["motion", "objects"] });
});

test("who has gone past a picture is not waited for", () => {
  const pairing = watching({ pictures: [1, 2, 3], known: ["motion", "objects"] });
  pairing.result(result(1, { motion: seen("m") }), 100);
  pairing.result(result(2, { motion: seen("m") }), 200);
  pairing.result(result(2, { objects: seen("o") }), 300);
  assert.deepEqual(shown(pairing.next(300)), { seq: 2, by: ["motion", "objects"] });
});

test("the newest complete picture is shown, never an older one", () => {
  const pairing = watching({ pictures: [1, 2, 3], known: ["objects"] });
  for (const seq of [1, 2, 3]) pairing.result(result(seq, { objects: seen("o") }), 300);
  assert.equal(pairing.next(300).frame.seq, 3);
  assert.equal(pairing.next(300), null);
});

test("who has been quiet for a second is not waited for, and pictures go on plain", () => {
  const pairing = watching({ pictures: [1, 5], known: ["objects"] });
  assert.equal(pairing.next(900), null);
  assert.deepEqual(shown(pairing.next(1100)), { seq: 5, by: [] });
});

test("a slow analyzer does not hold up a quick one", () => {
  const pairing = watching({ pictures: [] });
  for (let seq = 1; seq < 40; seq += 1) {
    pairing.picture(frame(seq), seq * 100);
    pairing.result(result(seq, { quick: seen("q") }), seq * 100);
    if (seq % 9 === 0) pairing.result(result(seq - 8, { slow: seen("s") }), seq * 100);
    const pair = shown(pairing.next(seq * 100));
    if (seq > 18) assert.deepEqual(pair, { seq, by: ["quick"] });
  }
});

test("an analyzer that only tells its state is not waited for", () => {
  const pairing = watching({ pictures: [1] });
  pairing.result(result(1, { faces: { state: "loading" } }), 100);
  assert.deepEqual(shown(pairing.next(100)), { seq: 1, by: [] });
});

test("results whose pictures never come do not stop the picture", () => {
  const pairing = watching({ pictures: [2], known: ["objects"] });
  for (let now = 0; now <= 1500; now += 100) pairing.result(result(3 + now / 50, { objects: seen("o") }), now);
  assert.deepEqual(shown(pairing.next(1500)), { seq: 2, by: [] });
});

test("smooth shows the newest picture at once, with the newest boxes and their age", () => {
  const pairing = watching({ pictures: [1], mode: "smooth" });
  pairing.result(result(1, { objects: seen("o") }), 150);
  pairing.picture(frame(4), 400);
  const pair = pairing.next(400);
  assert.deepEqual([shown(pair), pair.age_ms], [{ seq: 4, by: ["objects"] }, 300]);
});

test("another publisher that counts from the start is shown at once", () => {
  const pairing = watching({ pictures: [90], known: [] });
  pairing.next(9000);
  pairing.picture(frame(0), 9100);
  assert.equal(pairing.next(9100).frame.seq, 0);
});

// --- pictures that are decoded already -------------------------------------------------------------------------------

class Bitmap {
  closed = 0;
  close() {
    this.closed += 1;
  }
}

const video = (seq) => ({ seq, bitmap: new Bitmap() });

test("a decoded picture that is passed over gives its memory back, one that is shown is kept", () => {
  const pairing = new Pairing();
  const frames = [0, 1, 2].map(video);
  frames.forEach((frame) => pairing.picture(frame, 0));
  assert.equal(pairing.next(0).frame, frames[2]);
  pairing.reset();
  assert.deepEqual(frames.map(({ bitmap }) => bitmap.closed), [1, 1, 0]);
});

test("no more than thirty decoded pictures wait for their results", () => {
  const pairing = new Pairing();
  const frames = Array.from({ length: 120 }, (_, seq) => video(seq));
  frames.forEach((frame) => pairing.picture(frame, 0));
  assert.deepEqual(frames.filter(({ bitmap }) => !bitmap.closed).length, 30);
  assert.equal(pairing.next(0).frame.seq, 119);
  pairing.reset();
  assert.deepEqual([...new Set(frames.slice(0, -1).map(({ bitmap }) => bitmap.closed))], [1]);
});
