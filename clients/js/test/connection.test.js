import assert from "node:assert/strict";
import { test } from "node:test";

import { Framegate } from "../src/framegate.js";
import { Backoff } from "../src/reconnect.js";
import { settled, vectors, World } from "./doubles.js";

function watching(wanted) {
  const world = new World();
  const viewer = new Framegate("http://gate", { runtime: world.runtime }).watch("door", wanted);
  return { world, viewer };
}

function restOf(rest) {
  return rest === "down" || rest === null ? "down" : { status: rest.status, body: rest };
}

for (const { name, code, was_open, bye, rest, then, reason, at_least_ms } of vectors("closes.json")) {
  test(`a closed socket: ${name}`, async () => {
    const { world, viewer } = watching();
    world.rest = restOf(rest);
    world.random = 0;
    if (was_open) world.socket.open();
    if (bye) world.socket.say({ type: "bye", ...bye });
    await world.socket.drop(code);
    assert.equal(viewer.state, then === "stop" ? "ended" : "waiting");
    if (then === "stop") assert.equal(await viewer.ended, reason);
    else assert.equal(viewer.retry_ms, at_least_ms);
    viewer.close();
  });
}

test("the back-off doubles up to its longest, times a random share", () => {
  const full = new Backoff({ random: () => 1 });
  assert.deepEqual(
    Array.from({ length: 7 }, () => full.next()),
    [500, 1000, 2000, 4000, 8000, 15000, 15000],
  );
  const none = new Backoff({ random: () => 0 });
  assert.deepEqual([none.next(), none.next(2000)], [0, 2000]);
});

test("a restart spreads its clients: the random share comes on top of retry_ms", () => {
  assert.equal(new Backoff({ random: () => 0.5 }).next(2000), 2250);
});

test("a lost connection comes back and asks for the same again", async () => {
  const { world, viewer } = watching({ frames: "binary", topics: ["results"] });
  world.socket.open();
  await world.socket.drop(1006);
  await world.pass(250);
  assert.equal(world.sockets.length, 2);
  world.socket.open();
  assert.deepEqual(world.socket.messages, [{ type: "subscribe", frames: "binary", topics: ["results"] }]);
  assert.deepEqual([viewer.state, viewer.reason], ["open", null]);
  viewer.close();
});

test("connections that break at once wait longer and longer; one that lasted starts over", async () => {
  const { world, viewer } = watching();
  const waits = [];
  for (const lasted of [0, 0, 0, 6000, 0]) {
    world.socket.open();
    await world.pass(lasted);
    await world.socket.drop(1006);
    waits.push(viewer.retry_ms);
    await world.pass(viewer.retry_ms);
  }
  assert.deepEqual(waits, [250, 500, 1000, 250, 500]);
  viewer.close();
});

test("retryNow does not wait out the back-off", async () => {
  const { world, viewer } = watching();
  await world.socket.drop(1006);
  viewer.retryNow();
  viewer.retryNow();
  assert.equal(world.sockets.length, 2);
  viewer.close();
});

test("a silent connection is asked, and given up when it does not answer", async () => {
  const { world, viewer } = watching();
  world.socket.open();
  await world.pass(10_000);
  assert.deepEqual(world.socket.messages.at(-1), { type: "ping" });
  await world.pass(20_000);
  assert.equal(viewer.state, "waiting");
  viewer.close();
});

test("an answered ping keeps the connection", async () => {
  const { world, viewer } = watching();
  world.socket.open();
  for (let i = 0; i < 10; i += 1) {
    await world.pass(10_000);
    world.socket.say({ type: "pong" });
  }
  assert.equal(world.sockets.length, 1);
  viewer.close();
});

test("a connection that never opens is tried again", async () => {
  const { world, viewer } = watching();
  await world.pass(30_000);
  assert.equal(viewer.state, "waiting");
  viewer.close();
});

test("every state change is told with its reason", async () => {
  const { world, viewer } = watching();
  const told = [];
  viewer.addEventListener("state", ({ detail }) => told.push([detail.state, detail.reason, detail.retry_ms]));
  world.socket.open();
  world.socket.say({ type: "bye", reason: "restart", retry_ms: 1000 });
  await world.socket.drop(1012);
  await world.pass(1250);
  viewer.close();
  assert.deepEqual(told, [
    ["open", null, null],
    ["waiting", "restart", 1250],
    ["connecting", "restart", null],
    ["ended", "closed", null],
  ]);
});

test("each message is an event of its type, any message an event called any", () => {
  const { world, viewer } = watching();
  const told = [];
  for (const name of ["any", "result", "state", "weather"]) viewer.addEventListener(name, ({ detail }) => told.push([name, detail.seq]));
  world.socket.say({ type: "result", seq: 3 });
  world.socket.say({ type: "weather", seq: 4 });
  world.socket.say({ type: "state", seq: 5 });
  world.socket.say("not JSON");
  assert.deepEqual(told, [["any", 3], ["result", 3], ["any", 4], ["any", 5]]);
  assert.equal(viewer.ignored, 1);
  viewer.close();
});

test("an iterator gives the messages in order and ends with the stream", async () => {
  const { world, viewer } = watching();
  const seen = [];
  const reading = (async () => {
    for await (const message of viewer) seen.push(message.type);
  })();
  world.socket.say({ type: "status" });
  world.socket.say({ type: "bye", reason: "ended" });
  await world.socket.drop(1000);
  await reading;
  assert.deepEqual(seen, ["status", "bye"]);
  for await (const _ of viewer) assert.fail("an ended connection has no messages");
});

test("close leaves no timer, no socket and no handler behind, in every state", async () => {
  for (const reach of [
    () => {},
    ({ socket }) => socket.open(),
    ({ socket }) => socket.drop(1006),
    async (world) => {
      await world.socket.drop(1006);
      await world.pass(250);
    },
  ]) {
    const { world, viewer } = watching();
    await reach(world);
    viewer.close();
    viewer.close();
    await settled();
    assert.equal(world.timers.size, 0);
    assert.equal(world.socket.readyState, 3);
    assert.equal(world.socket.onmessage, null);
    assert.equal(await viewer.ended, "closed");
    await world.pass(60_000);
    assert.equal(world.timers.size, 0);
  }
});

test("close while the gateway is being asked stays closed", async () => {
  const { world, viewer } = watching();
  world.socket.drop(1006);
  viewer.close();
  await settled();
  assert.deepEqual([viewer.state, viewer.reason, world.timers.size], ["ended", "closed", 0]);
});

test("a stream that ended leaves no timer behind", async () => {
  const { world } = watching();
  world.socket.open();
  world.socket.say({ type: "bye", reason: "deleted" });
  await world.socket.drop(4404);
  assert.equal(world.timers.size, 0);
});

test("subscribe changes what is wanted, now and after a reconnect", async () => {
  const { world, viewer } = watching({ frames: "binary" });
  world.socket.open();
  viewer.subscribe({ frames: "none" });
  await world.socket.drop(1006);
  await world.pass(250);
  world.socket.open();
  assert.deepEqual(world.sockets.map((socket) => socket.messages.map(({ frames }) => frames)), [["binary", "none"], ["none"]]);
  viewer.close();
});

test("a viewer negotiates nothing, so that no deadline applies to it", () => {
  const { world, viewer } = watching();
  assert.deepEqual(world.socket.protocols, []);
  viewer.close();
});

test("after a sleep a line that answers goes on, and one that is silent for 3 s is given up", async () => {
  const { world, viewer } = watching();
  world.socket.open();
  await world.pass(7000);
  viewer.wake();
  assert.deepEqual(world.socket.messages.at(-1), { type: "ping" });
  await world.pass(20);
  world.socket.say({ type: "pong" });
  await world.pass(3000);
  assert.deepEqual([viewer.state, world.sockets.length], ["open", 1]);
  viewer.wake();
  await world.pass(3000);
  assert.deepEqual([viewer.state, viewer.reason], ["waiting", "disconnected (1006)"]);
  viewer.wake();
  assert.deepEqual([viewer.state, world.sockets.length], ["connecting", 2]);
  viewer.close();
  viewer.wake();
  assert.equal(viewer.state, "ended");
});
