/** One WebRTC connection: offer, answer, candidates, and every way to its end. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Framegate } from "../src/framegate.js";
import { OFFER, settled, World } from "./doubles.js";

const ANSWER = { status: 201, body: "answer", headers: { Location: "/stream/door/whip/fgw_1", ETag: '"one"' } };
const TRACK = { readyState: "live", getSettings: () => ({ width: 1280, height: 720 }) };

function calling({ rest = ANSWER, base = "http://gate", stream = "door", ...options } = {}) {
  const world = new World();
  world.rest = rest;
  const gateway = new Framegate(base, { headers: { Authorization: "Bearer x" }, runtime: world.runtime });
  const publisher = gateway.whip(stream, { track: TRACK, ...options });
  return { world, publisher, told: () => [publisher.state, publisher.reason] };
}

async function connected(options) {
  const all = calling(options);
  await settled();
  await all.world.peer.become("connected");
  return all;
}

const methods = ({ requests }) => requests.map(({ method, url }) => `${method} ${new URL(url).pathname}`);

test("an offer is posted, its answer taken, and it is open when there is a way", async () => {
  const { world, publisher, told } = calling({ resume: "mine" });
  await settled();
  const [{ method, url, body, headers }] = world.requests;
  assert.deepEqual([method, url, body], ["POST", "http://gate/stream/door/whip", OFFER]);
  assert.deepEqual(headers, { "Content-Type": "application/sdp", "X-Resume-Token": "mine", Authorization: "Bearer x" });
  assert.deepEqual(world.peer.done, ["local", "remote answer"]);
  assert.deepEqual(told(), ["connecting", null]);
  await world.peer.become("connected");
  assert.deepEqual(told(), ["open", null]);
  assert.equal(publisher.resume_token, "fgw_1");
  publisher.close();
  await settled();
  assert.deepEqual(methods(world).at(-1), "DELETE /stream/door/whip/fgw_1");
  assert.deepEqual([world.peer.closed, world.timers.size, await publisher.ended], [true, 0, "closed"]);
});

for (const [base, stream, endpoint, resource] of [
  ["http://gate", "a/b", "/stream/a%2Fb/whip", "/stream/door/whip/fgw_1"],
  ["http://gate/cameras", "door", "/cameras/stream/door/whip", "/cameras/stream/door/whip/fgw_1"],
  ["http://gate", { stream_id: "door", websocket_url: "", whip_url: "/stream/fgp_secret/whip" }, "/stream/fgp_secret/whip", "/stream/door/whip/fgw_1"],
]) {
  test(`the offer for ${JSON.stringify(stream)} at ${base} goes to ${endpoint}`, async () => {
    const { world, publisher } = await connected({ base, stream });
    publisher.close();
    await settled();
    assert.deepEqual(methods(world), [`POST ${endpoint}`, `DELETE ${resource}`]);
  });
}

test("the gateway's ICE servers are known before candidates are sought", async () => {
  const { world, publisher } = calling({ rest: { ...ANSWER, headers: { ...ANSWER.headers, Link: '<stun:a.example>; rel="ice-server"' } } });
  await settled();
  assert.deepEqual(world.peer.done, ["configure", "local", "remote answer"]);
  assert.deepEqual(world.peer.configuration, { iceServers: [{ urls: "stun:a.example" }] });
  publisher.close();
});

test("candidates go together, with the answer's tag, and none once there is a way", async () => {
  const { world, publisher } = calling();
  await settled();
  for (const candidate of ["candidate:1", "candidate:2"]) world.peer.find(candidate);
  await world.pass(100);
  const { url, body, headers } = world.requests.at(-1);
  assert.deepEqual([url, headers["If-Match"], headers["Content-Type"]], ["http://gate/stream/door/whip/fgw_1", '"one"', "application/trickle-ice-sdpfrag"]);
  assert.match(body, /a=mid:0\r\n.*a=candidate:1\r\na=candidate:2\r\n$/s);
  await world.peer.become("connected");
  world.peer.find(null);
  await settled();
  assert.equal(world.requests.length, 2);
  publisher.close();
});

for (const [rest, reason] of [
  [{ status: 503, body: { code: "at_capacity" } }, "at_capacity"],
  [{ status: 404, body: "no such page" }, "http_404"],
  [{ status: 201, body: "answer", headers: { Location: "http://elsewhere/" } }, "sdp"],
  ["down", "unreachable"],
]) {
  test(`answered with ${JSON.stringify(rest)} it ends: ${reason}`, async () => {
    const { world, publisher } = calling({ rest });
    assert.equal(await publisher.ended, reason);
    await publisher.released;
    assert.deepEqual([world.requests.length, world.timers.size, world.peer.closed], [1, 0, true]);
  });
}

test("a gateway that does not answer within ten seconds is given up", async () => {
  const { world, told } = calling({ rest: () => new Promise((_, reject) => world.aborted = reject) });
  await settled();
  const { signal } = { signal: [...world.timers.values()] };
  assert.deepEqual(signal.map(({ at }) => at), [10_000]);
  world.aborted(new DOMException("too late", "AbortError"));
  await settled();
  assert.deepEqual(told(), ["ended", "timeout"]);
});

test("without WebRTC in the browser it ends before anything is asked", async () => {
  const world = new World();
  const runtime = { ...world.runtime, RTCPeerConnection: undefined };
  const publisher = new Framegate("http://gate", { runtime }).whip("door", { track: TRACK });
  assert.deepEqual([await publisher.ended, world.requests], ["unsupported", []]);
});

test("a browser that does not tell which picture its video shows ends it before anything is asked", async () => {
  const world = new World();
  const viewer = new Framegate("http://gate", { runtime: world.runtime }).whep("door", { video: { play: async () => {} } });
  assert.deepEqual([await viewer.ended, world.requests, world.peer.closed], ["unsupported", [], true]);
});

test("when no way is found within five seconds it ends, and the gateway hears of it", async () => {
  const { world, told } = calling();
  await settled();
  await world.pass(4999);
  assert.deepEqual(told(), ["connecting", null]);
  await world.pass(1);
  assert.deepEqual([told(), methods(world).at(-1)], [["ended", "ice"], "DELETE /stream/door/whip/fgw_1"]);
});

test("closed before the answer came, the gateway hears of it when it has", async () => {
  let answer;
  const { world, publisher } = calling({ rest: ({ method }) => (method === "POST" ? new Promise((resolve) => (answer = resolve)) : { status: 200 }) });
  await settled();
  publisher.close();
  await settled();
  assert.deepEqual(methods(world), ["POST /stream/door/whip"]);
  answer(ANSWER);
  await publisher.released;
  assert.deepEqual(methods(world), ["POST /stream/door/whip", "DELETE /stream/door/whip/fgw_1"]);
});

test("a way that breaks has two seconds to heal", async () => {
  const { world, told } = await connected();
  await world.peer.become("disconnected");
  await world.pass(1999);
  await world.peer.become("connected");
  await world.pass(10_000);
  assert.deepEqual(told(), ["open", null]);
  await world.peer.become("disconnected");
  await world.pass(2000);
  assert.deepEqual(told(), ["ended", "disconnected"]);
});

test("a way that failed is over at once", async () => {
  const { world, told } = await connected();
  await world.peer.become("failed");
  assert.deepEqual([told(), world.timers.size], [["ended", "disconnected"], 0]);
});

const sends = (world, frames, framesSent, more = {}) =>
  (world.peer.stats = [
    { type: "media-source", frames },
    { type: "outbound-rtp", framesSent, bytesSent: 1000 * framesSent, framesPerSecond: 10, frameWidth: 640, frameHeight: 360, ...more },
    { type: "remote-inbound-rtp", packetsLost: 2, roundTripTime: 0.03 },
  ]);

test("pictures that the camera gives and that do not go out are a stall; a camera that gives none is not", async () => {
  const { world, told } = await connected();
  for (let s = 1; s <= 8; s += 1) {
    sends(world, 10 * s, 10 * s);
    await world.pass(1000);
  }
  await world.pass(30_000); // the camera rests
  assert.deepEqual(told(), ["open", null]);
  for (let s = 1; s <= 5; s += 1) {
    sends(world, 80 + 10 * s, 80);
    await world.pass(1000);
  }
  assert.deepEqual(told(), ["ended", "stalled"]);
});

test("a camera of which WebRTC sees nothing is a stall, unless it is muted or over", async () => {
  for (const [track, state] of [[{}, "ended"], [{ muted: true }, "open"], [{ readyState: "ended" }, "open"]]) {
    const { world, publisher } = await connected({ track: { ...TRACK, ...track } });
    sends(world, 0, 0);
    await world.pass(6000);
    assert.equal(publisher.state, state);
    publisher.close();
  }
});

test("another camera of which WebRTC sees nothing is a stall too", async () => {
  const { world, publisher } = await connected();
  sends(world, 10, 10);
  await world.pass(1000);
  await publisher.replaceTrack(TRACK);
  await world.pass(6000);
  assert.deepEqual([publisher.state, publisher.reason], ["ended", "stalled"]);
});

test("what goes out is known to the second", async () => {
  const { world, publisher } = await connected();
  sends(world, 10, 10);
  await world.pass(1000);
  assert.deepEqual(publisher.outgoing, { fps: 10, kb_s: 10, width: 640, height: 360, limited: "none" });
  assert.deepEqual([publisher.sent, publisher.bytes, publisher.packets_lost, publisher.round_trip_ms], [10, 10_000, 2, 30]);
  publisher.close();
});

test("size, pace and quality are those of the encoder, and change while it runs", async () => {
  const { world, publisher } = await connected({ shape: { side: 640, fps: 10, bits_per_pixel: 0.1 } });
  const [{ encodings, options, sender }] = world.peer.transceivers;
  assert.equal(options.direction, "sendonly");
  assert.deepEqual(encodings, [{ maxBitrate: 230_400, maxFramerate: 10, scaleResolutionDownBy: 2 }]);
  await publisher.reshape({ side: 1920, fps: 30, bits_per_pixel: 1 });
  assert.deepEqual(encodings, [{ maxBitrate: 8_000_000, maxFramerate: 30, scaleResolutionDownBy: 1 }]);
  const other = { getSettings: () => ({ width: 480, height: 3840 }) };
  await publisher.replaceTrack(other);
  assert.deepEqual([sender.track, encodings[0].scaleResolutionDownBy], [other, 2]);
  publisher.close();
});

// --- watching --------------------------------------------------------------------------------------------------------

class Video {
  shown = [];
  play = async () => {};
  requestVideoFrameCallback = (task) => (this.next = task);

  show(rtpTimestamp) {
    this.next(0, { rtpTimestamp, width: 640, height: 360 });
  }
}

async function watching() {
  globalThis.MediaStream ??= class {};
  const world = new World();
  world.rest = { ...ANSWER, headers: { Location: "/stream/door/whep/fgw_2" } };
  const video = new Video();
  const viewer = new Framegate("http://gate", { runtime: world.runtime }).whep("door", { video });
  await settled();
  await world.peer.become("connected");
  world.peer.ontrack({ track: {} });
  return { world, video, viewer };
}

test("a viewer asks for video and for the data channel results, and passes on what comes there", async () => {
  const { world, viewer } = await watching();
  const heard = [];
  for (const type of ["result", "status"]) viewer.addEventListener(type, ({ detail }) => heard.push(detail));
  const messages = [{ type: "result", seq: 4, analyzers: {} }, { type: "status", viewers: 1 }];
  messages.forEach((message) => world.peer.tell(message));
  assert.deepEqual(heard, messages);
  assert.deepEqual([world.peer.transceivers[0].what, world.peer.transceivers[0].options.direction, world.peer.channels[0].label], ["video", "recvonly", "results"]);
  viewer.close();
});

test("each picture that is shown has the number that the gateway told with its timestamp", async () => {
  const { world, video, viewer } = await watching();
  const frames = [];
  viewer.addEventListener("frame", ({ detail: { seq, captured_at, exact, picture } }) => frames.push([seq, captured_at?.getTime(), exact, picture === video]));
  for (const seq of [7, 8, 9]) world.peer.tell({ type: "picture", seq, rtp: 9000 * seq, captured_us: 1_000_000 * seq });
  for (const rtp of [63_000, 81_000, 99_000]) video.show(rtp);
  assert.deepEqual(frames, [[7, 7000, true, true], [9, 9000, true, true]]);
  assert.equal(viewer.unknown, 1);
  viewer.close();
});

test("messages of pictures that never come are a stall; a stream without pictures is not", async () => {
  const { world, viewer } = await watching();
  await world.pass(20_000);
  assert.equal(viewer.state, "open");
  for (let seq = 0; seq < 6; seq += 1) {
    world.peer.tell({ type: "result", seq, analyzers: {} });
    await world.pass(1000);
  }
  assert.deepEqual([viewer.state, viewer.reason], ["ended", "stalled"]);
});

test("a gateway that hangs up closes the channel, and that ends it", async () => {
  const { world, viewer } = await watching();
  world.peer.channels[0].onclose();
  assert.equal(await viewer.ended, "disconnected");
});
