/** WebRTC while it works, WebSocket when it does not. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Framegate } from "../src/framegate.js";
import { settled, World } from "./doubles.js";

const HELLO = { type: "hello", next_seq: 0, resume_token: "of the socket", limits: {} };
const TRACK = { readyState: "live", getSettings: () => ({}) };
const ANSWERS = (word, n = 1) => ({ status: 201, body: "answer", headers: { Location: `/stream/door/${word}/fgw_${n}` } });
const FULL = { status: 503, body: { code: "at_capacity" } };

function world(rest) {
  const made = new World();
  made.rest = ({ method, url }) => (method === "POST" ? rest(url) : { status: 200, body: {} });
  return made;
}

async function publishing({ rest = () => ANSWERS("whip"), ...options } = {}) {
  const made = world(rest);
  const camera = new Framegate("http://gate", { runtime: made.runtime }).publishTrack("door", { track: TRACK, ...options });
  const told = [];
  camera.addEventListener("transport", ({ detail: { transport, why } }) => told.push([transport, why]));
  await settled();
  return { world: made, camera, told };
}

async function watching({ rest = () => ANSWERS("whep"), ...options } = {}) {
  const made = world(rest);
  const viewer = new Framegate("http://gate", { runtime: made.runtime }).watchVideo("door", { video: { requestVideoFrameCallback: () => 0 }, ...options });
  await settled();
  return { world: made, viewer };
}

/** What a publisher's socket asked for first; null for a viewer's. */
const publishes = ({ protocols, messages }) => (protocols.length ? messages[0] ?? {} : null);

test("a track goes out by WebRTC: there is nothing to send, and a socket without pictures brings the messages", async () => {
  const { world, camera } = await publishing();
  await world.peer.become("connected");
  assert.deepEqual([camera.transport, camera.why, camera.state, camera.ready, camera.offer(), camera.send(new Uint8Array(4))], ["webrtc", null, "open", false, false, null]);
  assert.deepEqual(camera.dropped, {});
  const heard = [];
  camera.addEventListener("result", ({ detail }) => heard.push(detail.seq));
  assert.equal(world.sockets.length, 1);
  world.socket.open();
  assert.deepEqual(world.socket.messages, [{ type: "subscribe", frames: "none" }]);
  world.socket.say({ type: "result", seq: 5, analyzers: {} });
  assert.deepEqual(heard, [5]);
  camera.close();
  await settled();
  assert.deepEqual([world.timers.size, await camera.ended, world.requests.at(-1).method], [0, "closed", "DELETE"]);
});

test("the socket for messages says whose it is as often as it connects, so that it is no viewer", async () => {
  const { world, camera } = await publishing();
  const own = (id) => ({ type: "hello", resume: id });
  const hellos = ({ messages }) => messages.filter(({ type }) => type === "hello");
  world.socket.open();
  await world.peer.become("connected"); // the socket was there first
  assert.deepEqual(hellos(world.socket), [own("fgw_1")]);
  await world.socket.drop(1006);
  await world.pass(10_000);
  assert.equal(world.sockets.length, 2);
  world.socket.open();
  world.socket.say(HELLO);
  assert.deepEqual(hellos(world.socket), [own("fgw_1")]);
  camera.use("websocket");
  await settled();
  assert.equal(hellos(world.sockets[1]).length, 1);
  camera.close();
});

test("refused by WebRTC, it publishes by WebSocket at once and says why", async () => {
  const { world, camera, told } = await publishing({ rest: () => FULL });
  await settled();
  assert.deepEqual(told, [["websocket", "at_capacity"]]);
  assert.deepEqual([camera.transport, camera.why, camera.state], ["websocket", "at_capacity", "connecting"]);
  world.socket.open();
  world.socket.say(HELLO);
  assert.deepEqual([camera.state, camera.ready, camera.send(new Uint8Array(4))], ["open", true, 0]);
  assert.deepEqual([camera.sent, camera.resume_token], [1, "of the socket"]);
  camera.close();
  assert.equal(world.timers.size, 0);
});

test("when no way is found the gateway hears of it first, and the socket takes the same place", async () => {
  const { world, camera, told } = await publishing();
  await world.pass(5000);
  assert.deepEqual(told, [["websocket", "ice"]]);
  assert.equal(world.requests.at(-1).method, "DELETE");
  world.socket.open();
  assert.deepEqual(publishes(world.socket), { type: "hello", acks: true, resume: "fgw_1" });
  assert.deepEqual([world.peer.closed, world.sockets[0].readyState], [true, 3], "the socket for messages is not needed any more");
  camera.close();
});

test("a gateway that does not answer to the end of one way is not waited for longer than two seconds", async () => {
  const { world, camera } = await publishing();
  const before = world.rest;
  world.rest = (request) => (request.method === "DELETE" ? new Promise(() => {}) : before(request));
  await world.pass(5000);
  assert.equal(world.sockets.length, 1);
  await world.pass(2000);
  assert.deepEqual(world.sockets.map(({ protocols }) => protocols), [[], ["framegate.v1"]]);
  camera.close();
});

test("it never goes back to WebRTC by itself, and does when asked", async () => {
  let full = true;
  const { world, camera, told } = await publishing({ rest: () => (full ? FULL : ANSWERS("whip")) });
  await settled();
  world.socket.open();
  world.socket.say(HELLO);
  full = false;
  await world.pass(600_000);
  assert.deepEqual([camera.transport, world.peers.length], ["websocket", 1]);
  camera.use("webrtc");
  await settled();
  await world.peer.become("connected");
  assert.deepEqual([camera.transport, camera.why, camera.state, world.requests.at(-1).headers["X-Resume-Token"]], ["webrtc", null, "open", "of the socket"]);
  assert.deepEqual(told, [["websocket", "at_capacity"], ["webrtc", null]]);
  camera.use("webrtc");
  assert.equal(told.length, 2, "it is there already");
  camera.close();
});

test("a connection that worked and broke is made once more by WebRTC; one that stalled is not", async () => {
  let n = 0;
  const { world, camera, told } = await publishing({ rest: () => ANSWERS("whip", (n += 1)) });
  await world.peer.become("connected");
  await world.pass(10_000);
  await world.peer.become("failed");
  await settled();
  assert.deepEqual([told, world.peers.length, camera.state], [[["webrtc", null]], 2, "connecting"]);
  await world.peer.become("failed"); // this one never worked
  await settled();
  assert.deepEqual(told.slice(1), [["websocket", "ice"]]);
  camera.close();

  const other = await publishing();
  await other.world.peer.become("connected");
  for (let s = 1; s <= 25; s += 1) {
    other.world.peer.stats = [{ type: "media-source", frames: 10 * s }, { type: "outbound-rtp", framesSent: 10 * Math.min(s, 12) }];
    await other.world.pass(1000);
  }
  assert.deepEqual([other.told, other.world.peers.length], [[["websocket", "stalled"]], 1]);
  other.camera.close();
});

test("a connection that the gateway does not know any more is over before the browser notices", async () => {
  const { world, camera, told } = await publishing();
  await world.peer.become("connected");
  world.socket.open();
  world.socket.say({ type: "status", publishers: 0 }); // of before it came
  await world.pass(3000);
  world.socket.say({ type: "status", publishers: 1 });
  assert.deepEqual([camera.state, told], ["open", []]);
  world.socket.say({ type: "status", publishers: 0 });
  await settled();
  assert.deepEqual(told, [["websocket", "disconnected"]]);
  camera.close();
});

test("its own place, not yet given up by the gateway, is asked for again; somebody else's is not", async () => {
  const { world, camera, told } = await publishing();
  await world.pass(5000);
  await world.socket.drop(4409);
  assert.equal(camera.state, "connecting");
  await world.pass(500);
  assert.equal(world.sockets.length, 3);
  for (const pause of [1000, 2000, 4000]) {
    await world.socket.drop(4409);
    await world.pass(pause);
  }
  await world.socket.drop(4409);
  assert.deepEqual([await camera.ended, told], ["second_publisher", [["websocket", "ice"]]]);

  const second = await publishing({ rest: () => ({ status: 409, body: { code: "second_publisher" } }) });
  await settled();
  await second.world.socket.drop(4409);
  assert.equal(await second.camera.ended, "second_publisher");
});

test("once pictures are taken by the socket, a second publisher is one", async () => {
  const { world, camera } = await publishing();
  await world.pass(5000);
  world.socket.open();
  world.socket.say(HELLO);
  camera.send(new Uint8Array(4));
  world.socket.say({ type: "ack", seq: 0, credits: 4, dropped: 0 });
  await world.socket.drop(4409);
  assert.equal(await camera.ended, "second_publisher");
});

test("the end of the stream ends it whatever the way", async () => {
  const { world, camera } = await publishing();
  await world.peer.become("connected");
  world.socket.open();
  world.socket.say({ type: "bye", reason: "deleted" });
  await world.socket.drop(1000);
  assert.deepEqual([await camera.ended, camera.state, world.peer.closed, world.timers.size], ["deleted", "ended", true, 0]);
});

test("without a track it goes by WebSocket and has no reason to complain", async () => {
  const { world, camera } = await publishing({ track: null });
  assert.deepEqual([camera.transport, camera.why, world.peers.length, world.sockets.length], ["websocket", null, 0, 1]);
  camera.close();
});

test("size and camera reach the connection that there is, and the next one", async () => {
  const { world, camera } = await publishing({ shape: { side: 320 } });
  await world.peer.become("connected");
  await camera.reshape({ side: 640, fps: 5, bits_per_pixel: 0.1 });
  const other = { getSettings: () => ({ width: 640, height: 360 }) };
  await camera.replaceTrack(other);
  assert.deepEqual(world.peer.transceivers[0].encodings, [{ maxBitrate: 150_000, maxFramerate: 5, scaleResolutionDownBy: 1 }]);
  camera.use("websocket");
  await settled();
  camera.use("webrtc");
  await settled();
  assert.equal(world.peer.transceivers[0].what, other);
  camera.close();
});

test("a viewer that WebRTC refuses asks for pictures on the socket", async () => {
  const { world, viewer } = await watching({ rest: () => ({ status: 404, body: {} }) });
  await settled();
  world.socket.open();
  assert.deepEqual([viewer.transport, viewer.why, world.socket.messages], ["websocket", "http_404", [{ type: "subscribe", frames: "binary" }]]);
  viewer.close();
});

test("a viewer by WebRTC needs no socket; when it breaks off the socket tells why the stream is over", async () => {
  const { world, viewer } = await watching();
  await world.peer.become("connected");
  assert.deepEqual([viewer.state, world.sockets.length], ["open", 0]);
  world.rest = ({ method }) => (method === "GET" ? { status: 404, body: { code: "session_ended", reason: "deleted" } } : { status: 404, body: {} });
  world.peer.channels[0].onclose();
  await settled();
  await world.socket.drop(1006);
  assert.deepEqual([await viewer.ended, viewer.reason], ["deleted", "deleted"]);
});

test("who wishes WebSocket is never called by WebRTC", async () => {
  const { world, viewer } = await watching({ transport: "websocket" });
  assert.deepEqual([world.peers.length, world.sockets.length, viewer.why], [0, 1, null]);
  viewer.close();
});

test("closed before it began, it begins nothing", async () => {
  const made = world(() => FULL);
  const viewer = new Framegate("http://gate", { runtime: made.runtime }).watchVideo("door", { video: {} });
  viewer.close();
  await settled();
  assert.deepEqual([made.requests, made.sockets.length, await viewer.ended], [[], 0, "closed"]);
});
