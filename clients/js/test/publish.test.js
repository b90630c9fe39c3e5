import assert from "node:assert/strict";
import { test } from "node:test";

import { Framegate, readFrame } from "../src/framegate.js";
import { World } from "./doubles.js";

const JPEG = Uint8Array.of(0xff, 0xd8, 0xff, 0xd9);
const HELLO = { type: "hello", next_seq: 7, resume_token: "first", limits: { credits: 2, max_fps: 1000 } };

function publishing(options) {
  const world = new World();
  const camera = new Framegate("http://gate", { runtime: world.runtime }).publish("door", options);
  return { world, camera };
}

function greeted() {
  const { world, camera } = publishing();
  world.socket.open();
  world.socket.say(HELLO);
  return { world, camera };
}

const pictures = ({ sent }) => sent.filter((data) => typeof data !== "string");

test("a publisher negotiates framegate.v1, asks for acks and numbers from next_seq", () => {
  const { world, camera } = greeted();
  assert.deepEqual(world.socket.protocols, ["framegate.v1"]);
  assert.deepEqual(world.socket.messages, [{ type: "hello", acks: true }]);
  assert.equal(camera.send(JPEG, { captured_at: 1500, meta: { lens: "wide" } }), 7);
  const { seq, captured_us, meta, jpeg } = readFrame(pictures(world.socket)[0]);
  assert.deepEqual([seq, captured_us, meta, [...jpeg]], [7, 1_500_000, { lens: "wide" }, [...JPEG]]);
  camera.close();
});

test("a Blob, an ArrayBuffer and a byte array make the same message", async () => {
  const { world, camera } = greeted();
  for (const jpeg of [JPEG, JPEG.buffer.slice(0), new Blob([JPEG])]) {
    world.now += 10;
    world.socket.say({ type: "ack", seq: 6 + camera.sent, credits: 2 });
    assert.notEqual(camera.send(jpeg, { captured_at: null }), null);
  }
  const sent = await Promise.all(pictures(world.socket).map(async (data) => new Uint8Array(await new Blob([data]).arrayBuffer())));
  assert.deepEqual(sent.map((message) => [...readFrame(message).jpeg]), [[...JPEG], [...JPEG], [...JPEG]]);
  camera.close();
});

test("a picture that cannot go is dropped and counted, never kept", async () => {
  const { world, camera } = publishing();
  assert.equal(camera.send(JPEG), null);
  world.socket.open();
  assert.equal(camera.send(JPEG), null);
  world.socket.say(HELLO);
  for (let i = 0; i < 3; i += 1, world.now += 10) camera.send(JPEG);
  world.socket.say({ type: "ack", seq: 8, credits: 2 });
  world.socket.bufferedAmount = 100;
  assert.equal(camera.ready, false);
  camera.send(JPEG);
  world.socket.bufferedAmount = 0;
  world.socket.say({ type: "slow_down", fps: 1 });
  camera.send(JPEG);
  assert.deepEqual(camera.dropped, { disconnected: 2, credits: 1, pace: 1, backlog: 1, size: 0 });
  assert.equal(camera.sent, 2);
  assert.equal(pictures(world.socket).length, 2);
  camera.close();
});

test("a dropped picture uses up no number", () => {
  const { world, camera } = greeted();
  const numbers = [];
  for (let i = 0; i < 4; i += 1, world.now += 10) {
    numbers.push(camera.send(JPEG));
    if (i === 2) world.socket.say({ type: "ack", seq: 8, credits: 2 });
  }
  assert.deepEqual(numbers, [7, 8, null, 9]);
  camera.close();
});

test("a publisher that comes back gives its resume token and numbers from the new hello", async () => {
  const { world, camera } = greeted();
  camera.send(JPEG);
  await world.socket.drop(1006);
  assert.equal(camera.send(JPEG), null);
  await world.pass(250);
  world.socket.open();
  assert.deepEqual(world.socket.messages, [{ type: "hello", acks: true, resume: "first" }]);
  world.socket.say({ ...HELLO, next_seq: 30, resume_token: "second" });
  assert.equal(camera.resume_token, "second");
  assert.equal(camera.send(JPEG), 30);
  camera.close();
});

test("a reloaded page takes its place over with the token it kept", () => {
  const { world, camera } = publishing({ resume: "kept" });
  world.socket.open();
  assert.deepEqual(world.socket.messages, [{ type: "hello", acks: true, resume: "kept" }]);
  camera.close();
});

test("a publisher stops when another one has the stream", async () => {
  const { world, camera } = greeted();
  await world.socket.drop(4409);
  assert.equal(await camera.ended, "second_publisher");
  assert.equal(camera.ready, false);
  assert.equal(world.timers.size, 0);
});

test("a picture above what the gateway takes is dropped here and costs no connection", () => {
  const { world, camera } = publishing();
  world.socket.open();
  world.socket.say({ ...HELLO, limits: { max_message_bytes: 24 + 4 } });
  assert.equal(camera.send(new Uint8Array(5)), null);
  assert.equal(camera.send(new Blob([new Uint8Array(5)])), null);
  assert.equal(camera.send(JPEG), 7);
  assert.deepEqual([camera.dropped.size, camera.sent, camera.bytes], [2, 1, 4]);
  camera.close();
});

test("a picture that is offered and may not go is counted, before anything is encoded", () => {
  const { world, camera } = greeted();
  const answers = [];
  for (let i = 0; i < 3; i += 1, world.now += 10) if (answers[i] = camera.offer()) camera.send(JPEG);
  assert.deepEqual([answers, camera.dropped.credits, camera.sent], [[true, true, false], 1, 2]);
  camera.close();
});

test("every picture sent is taken, on its way, or lost with its line", async () => {
  const { world, camera } = greeted();
  const counts = () => [camera.sent, camera.acked, camera.lost, camera.on_the_way];
  world.socket.say({ type: "ack", seq: 6, credits: 9 });
  for (let i = 0; i < 5; i += 1, world.now += 10) camera.send(JPEG); // 7 to 11
  assert.deepEqual(counts(), [5, 0, 0, 5]);
  world.socket.say({ type: "ack", seq: 8, credits: 9 });
  assert.deepEqual(counts(), [5, 2, 0, 3]);
  await world.socket.drop(1006);
  await world.pass(1000);
  world.socket.open();
  world.socket.say({ ...HELLO, next_seq: 11 }); // 9 and 10 had arrived, 11 had not
  assert.deepEqual(counts(), [5, 4, 1, 0]);
  camera.send(JPEG);
  world.socket.say({ type: "ack", seq: 40, credits: 9 });
  assert.deepEqual(counts(), [6, 4, 1, 1], "an ack of a picture never sent");
  camera.close();
});

test("pictures of a line that broke are lost when somebody else has published since", async () => {
  const { world, camera } = greeted();
  camera.send(JPEG);
  await world.socket.drop(1006);
  await world.pass(1000);
  world.socket.open();
  world.socket.say({ ...HELLO, next_seq: 90 });
  assert.deepEqual([camera.sent, camera.acked, camera.lost, camera.on_the_way], [1, 0, 1, 0]);
  camera.close();
});

test("the round trip is that of the picture acknowledged last", () => {
  const { world, camera } = greeted();
  world.socket.say({ type: "ack", seq: 6, credits: 9 });
  for (let i = 0; i < 3; i += 1, world.now += 10) camera.send(JPEG);
  world.now += 30;
  world.socket.say({ type: "ack", seq: 8, credits: 9 });
  assert.equal(camera.round_trip_ms, 50);
  camera.close();
});

test("nothing is put into a socket that is closing", () => {
  const { world, camera } = greeted();
  world.socket.readyState = 2; // the close frame came, the event has not
  assert.equal(camera.send(JPEG), null);
  assert.deepEqual([camera.dropped.disconnected, pictures(world.socket).length], [1, 0]);
  camera.close();
});
