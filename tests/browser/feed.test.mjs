/** Which pictures go out, how large, and that every one is counted; run by `npm test` in clients/js. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { settled } from "../../clients/js/test/doubles.js";
import { Feed } from "../../static/publish/feed.js";

class Publisher {
  max_bytes = Infinity;
  free = true;
  took = [];
  refused = 0;

  offer() {
    if (!this.free) this.refused += 1;
    return this.free;
  }

  send(jpeg, about) {
    if (jpeg.size > this.max_bytes) return (this.refused += 1), null;
    this.took.push({ bytes: jpeg.size, ...about });
    return this.took.length;
  }
}

/** An encoder that is done when told, or at once; JPEGs have as many bytes as thousandths of the quality. */
class Encoder {
  asked = [];
  patient = false;
  #done = [];

  encode(picture, shape) {
    this.asked.push({ picture, ...shape });
    const jpeg = new Blob([new Uint8Array(Math.round(shape.quality * 1000))]);
    return this.patient ? new Promise((resolve) => this.#done.push(() => resolve(jpeg))) : Promise.resolve(jpeg);
  }

  async finish() {
    this.#done.shift()();
    await settled();
  }
}

function feeding(shot = { picture: "p", width: 1920, height: 1080 }) {
  const [encoder, publisher] = [new Encoder(), new Publisher()];
  const clock = { now: 0 };
  const feed = new Feed(encoder, { now: () => clock.now, wall: () => 5000 + clock.now });
  feed.publisher = publisher;
  feed.shoot = () => shot;
  return { feed, encoder, publisher, clock };
}

test("a tick sends the picture of that moment, scaled to the longest side, with the time it was taken", async () => {
  const { feed, encoder, publisher, clock } = feeding();
  clock.now = 40;
  await feed.tick();
  assert.deepEqual(encoder.asked, [{ picture: "p", width: 1280, height: 720, quality: 0.8 }]);
  assert.deepEqual(publisher.took, [{ bytes: 800, captured_at: 5040 }]);
  assert.deepEqual(feed.size, { width: 1280, height: 720 });
});

test("a picture held upright is scaled by its height, and a small one is never blown up", async () => {
  const { feed, encoder } = feeding({ picture: "p", width: 1080, height: 1920 });
  await feed.tick();
  feed.shoot = () => ({ picture: "q", width: 320, height: 240 });
  await feed.tick();
  assert.deepEqual(encoder.asked.map(({ width, height }) => [width, height]), [[720, 1280], [320, 240]]);
});

test("what may not go is not even encoded", async () => {
  const { feed, encoder, publisher } = feeding();
  publisher.free = false;
  await feed.tick();
  assert.deepEqual([encoder.asked.length, publisher.refused], [0, 1]);
});

test("while one picture is being encoded the others are passed over and counted", async () => {
  const { feed, encoder, publisher } = feeding();
  encoder.patient = true;
  for (let i = 0; i < 4; i += 1) void feed.tick();
  await encoder.finish();
  assert.deepEqual([encoder.asked.length, publisher.took.length, feed.busy], [1, 1, 3]);
});

test("a picture that cannot be read is counted and stops nothing", async () => {
  const { feed, encoder, publisher } = feeding();
  const { encode } = Encoder.prototype;
  encoder.encode = () => Promise.reject(new Error("torn"));
  await feed.tick();
  encoder.encode = encode;
  await feed.tick();
  assert.deepEqual([feed.failed, publisher.took.length], [1, 1]);
});

test("pictures too large for the gateway lose quality, then size, until they fit", async () => {
  const { feed, encoder, publisher } = feeding();
  publisher.max_bytes = 500;
  for (let i = 0; i < 5; i += 1) await feed.tick();
  assert.deepEqual([publisher.refused, publisher.took.map(({ bytes }) => bytes)], [3, [491, 491]]);
  assert.deepEqual(new Set(encoder.asked.map(({ width }) => width)), new Set([1280]));
  publisher.max_bytes = 340; // below the least quality: from here on the size gives way
  for (let i = 0; i < 4; i += 1) await feed.tick();
  const widths = encoder.asked.map(({ width }) => width);
  assert.ok(widths.at(-1) < widths.at(-2), widths);
});

test("what was encoded for a publisher that has left goes nowhere", async () => {
  const { feed, encoder, publisher } = feeding();
  encoder.patient = true;
  void feed.tick();
  feed.publisher = new Publisher();
  await encoder.finish();
  assert.deepEqual([publisher.took.length, feed.publisher.took.length], [0, 0]);
});

test("rates are of the last two seconds", async () => {
  const { feed, clock } = feeding();
  for (clock.now = 0; clock.now < 4000; clock.now += 100) await feed.tick();
  assert.deepEqual(feed.rates(), { fps: 9.5, kb_s: 7.6, kb: 0.8 });
});

test("nothing is kept of pictures that went long ago", async () => {
  const { feed, clock } = feeding();
  for (clock.now = 0; clock.now < 10_000; clock.now += 1) await feed.tick();
  assert.equal(feed.rates(1e9).fps * 1e6, 240);
});
