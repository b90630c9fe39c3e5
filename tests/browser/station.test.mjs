/** The stream a camera page publishes to, from its request to its end; run by `npm test` in clients/js. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Framegate } from "../../clients/js/src/framegate.js";
import { settled, World } from "../../clients/js/test/doubles.js";
import { Station } from "../../static/publish/station.js";

const HELLO = { type: "hello", next_seq: 0, resume_token: "mine", limits: {} };
const answer = (id) => ({ status: 200, body: { stream_id: id, websocket_url: `/ws/stream/${id}-token`, viewer_url: `/viewer/${id}-view` } });

class Memory extends Map {
  getItem = (key) => this.get(key) ?? null;
  setItem = (key, value) => void this.set(key, value);
  removeItem = (key) => void this.delete(key);
}

function station({ stream_id = null, memory = new Memory() } = {}) {
  const world = new World();
  world.rest = answer("one");
  const made = new Station(new Framegate("http://gate", { runtime: world.runtime }), { memory, stream_id });
  return { world, memory, station: made, told: () => [made.state, made.reason] };
}

async function publishing(options) {
  const all = station(options);
  await all.station.start({ name: "door", analyzers: null });
  all.world.socket.open();
  all.world.socket.say(HELLO);
  return all;
}

const asked = ({ requests }) => requests.map(({ method, url, body }) => [method, new URL(url).pathname, body && JSON.parse(body)]);

test("start asks for a stream and publishes to the address the gateway named", async () => {
  const { world, station, told } = await publishing();
  assert.deepEqual(asked(world), [["POST", "/stream/request", { grace_s: 60, name: "door", analyzers: null }]]);
  assert.equal(world.socket.url, "ws://gate/ws/stream/one-token");
  assert.deepEqual(told(), ["open", null]);
  station.stop();
});

test("a stream named in the page's address is published to and never asked for", async () => {
  const { world, station } = await publishing({ stream_id: "given" });
  assert.deepEqual(asked(world), []);
  assert.equal(world.socket.url, "ws://gate/ws/stream/given");
  station.stop();
});

test("stop keeps the stream: start goes on with it, and with its place", async () => {
  const { world, station, told } = await publishing();
  station.stop();
  assert.deepEqual(told(), ["idle", null]);
  await station.start({});
  world.socket.open();
  assert.equal(world.requests.length, 1);
  assert.deepEqual(world.socket.messages[0], { type: "hello", acks: true, resume: "mine" });
  station.stop();
});

test("a reloaded page finds its stream and its place again", async () => {
  const { memory, station: before } = await publishing();
  before.stop();
  const { world, station } = await publishing({ memory });
  assert.deepEqual([world.requests.length, world.socket.messages[0].resume], [0, "mine"]);
  station.stop();
});

test("a full gateway is asked again when it said, and not after stop", async () => {
  const { world, station: made, told } = station();
  world.rest = { status: 503, body: { code: "at_capacity" }, headers: { "Retry-After": "7" } };
  await made.start({});
  assert.deepEqual([...told(), made.retry_at], ["full", "at_capacity", 7000]);
  await world.pass(6999);
  assert.equal(world.requests.length, 1);
  world.rest = answer("one");
  await world.pass(1);
  assert.equal(made.state, "connecting");
  made.stop();
  world.rest = { status: 503, body: {} };
  const again = station();
  again.world.rest = world.rest;
  await again.station.start({});
  again.station.stop();
  await again.world.pass(60_000);
  assert.deepEqual([again.told(), again.world.requests.length], [["idle", null], 1]);
});

test("a gateway that does not answer is asked every five seconds", async () => {
  const { world, station: made, told } = station();
  world.rest = "down";
  await made.start({});
  assert.deepEqual([...told(), made.retry_at], ["full", "unreachable", 5000]);
  await world.pass(10_000);
  assert.equal(world.requests.length, 3);
  made.stop();
});

test("a refusal that would come again ends it", async () => {
  const { world, station: made, told } = station();
  world.rest = { status: 401, body: { code: "credential" } };
  await made.start({});
  assert.deepEqual(told(), ["ended", "credential"]);
});

test("a stream that was lost is replaced by a new one, and that is told", async () => {
  const { world, station } = await publishing();
  world.rest = { status: 404, body: { code: "not_found" } };
  const lost = world.socket.drop(1006);
  world.rest = { status: 404, body: { code: "not_found" } };
  await lost;
  assert.deepEqual(asked(world).slice(1), [["GET", "/stream/one", undefined], ["POST", "/stream/request", { grace_s: 60, name: "door", analyzers: null }]]);
  assert.equal(station.replaced, true);
  station.stop();
});

test("a new stream that is lost before its first word is not asked for again at once", async () => {
  const { world, station: made, told } = station();
  await made.start({});
  world.rest = { status: 404, body: { code: "not_found" } };
  await world.socket.drop(1006);
  assert.deepEqual([told(), world.requests.length], [["full", "not_found"], 2]);
  made.stop();
});

test("a stream that somebody ended stays ended; start opens another", async () => {
  const { world, station, told } = await publishing();
  world.socket.say({ type: "bye", reason: "deleted" });
  await world.socket.drop(1000);
  assert.deepEqual([told(), station.stream], [["ended", "deleted"], null]);
  await station.start({});
  assert.equal(world.requests.length, 2);
  station.stop();
});

test("a second publisher ends here and keeps the stream, to try again", async () => {
  const { world, station, told } = await publishing();
  await world.socket.drop(4409);
  assert.deepEqual([told(), station.stream.stream_id], [["ended", "second_publisher"], "one"]);
});

test("a given stream that is over is never replaced", async () => {
  const { world, station, told } = await publishing({ stream_id: "given" });
  world.socket.say({ type: "bye", reason: "lease_expired" });
  await world.socket.drop(1000);
  assert.deepEqual([told(), world.requests.length], [["ended", "lease_expired"], 0]);
});

test("end deletes the stream and forgets it", async () => {
  const { world, station, memory, told } = await publishing();
  await station.end();
  assert.deepEqual(asked(world).at(-1), ["DELETE", "/stream/one", undefined]);
  assert.deepEqual([told(), station.stream, memory.size], [["idle", null], null, 0]);
});

test("changes go to the stream that there is, and into the wish for the next", async () => {
  const { world, station } = await publishing();
  await station.change({ analyzers: ["motion"] });
  assert.deepEqual(asked(world).at(-1), ["PATCH", "/stream/one", { analyzers: ["motion"] }]);
  world.rest = { status: 422, body: { code: "unknown_option", detail: "no such analyzer" } };
  await assert.rejects(station.change({ analyzers: ["nose"] }), /no such analyzer/);
  station.stop();
});

test("waking asks a full gateway at once", async () => {
  const { world, station: made } = station();
  world.rest = { status: 503, body: { code: "at_capacity" }, headers: { "Retry-After": "600" } };
  await made.start({});
  world.rest = answer("one");
  made.wake();
  await settled();
  assert.equal(made.state, "connecting");
  made.stop();
});

test("who says how to publish is asked for every new publisher, with the place that was kept", async () => {
  const memory = new Memory();
  const { station: before } = await publishing({ memory });
  before.stop();
  const world = new World();
  const asked = [];
  const gateway = new Framegate("http://gate", { runtime: world.runtime });
  const publish = (stream, options) => (asked.push([stream.stream_id, options]), gateway.publish(stream, options));
  const made = new Station(gateway, { memory, publish });
  await made.start({});
  assert.deepEqual(asked, [["one", { resume: "mine" }]]);
  made.stop();
});
