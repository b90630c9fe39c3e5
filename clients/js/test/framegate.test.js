import assert from "node:assert/strict";
import { test } from "node:test";

import { Framegate, FramegateError } from "../src/framegate.js";
import { World } from "./doubles.js";

function gatewayAt(base, options = {}) {
  const world = new World();
  return { world, gateway: new Framegate(base, { ...options, runtime: world.runtime }) };
}

test("request posts the options and answers with the stream", async () => {
  const { world, gateway } = gatewayAt("http://gate");
  world.rest = { status: 200, body: { stream_id: "door" } };
  assert.deepEqual(await gateway.request({ analyzers: ["smoking"] }), { stream_id: "door" });
  const [{ url, method, body, headers }] = world.requests;
  assert.deepEqual([method, url, body, headers["Content-Type"]], ["POST", "http://gate/stream/request", '{"analyzers":["smoking"]}', "application/json"]);
  assert.equal(world.timers.size, 0);
});

test("the helpers ask the routes of api.md section 1", async () => {
  const { world, gateway } = gatewayAt("http://gate", { headers: { Authorization: "Bearer x" } });
  world.rest = { status: 200, body: { items: [{ stream_id: "door" }] } };
  assert.deepEqual(await gateway.list(), [{ stream_id: "door" }]);
  await gateway.status("door");
  await gateway.update("door", { paused: true });
  await gateway.snapshot("door", { draw: "boxes" });
  world.rest = { status: 204 };
  await gateway.delete("a/b");
  assert.deepEqual(
    world.requests.map(({ method, url }) => `${method} ${url}`),
    [
      "GET http://gate/stream",
      "GET http://gate/stream/door",
      "PATCH http://gate/stream/door",
      "GET http://gate/stream/door/snapshot.jpg?draw=boxes",
      "DELETE http://gate/stream/a%2Fb",
    ],
  );
  assert.ok(world.requests.every(({ headers }) => headers.Authorization === "Bearer x"));
});

test("a refusal becomes an error with the gateway's code, reason and Retry-After", async () => {
  const { world, gateway } = gatewayAt("http://gate");
  world.rest = { status: 503, body: { code: "at_capacity", detail: "32 of 32 streams" }, headers: { "Retry-After": "5" } };
  await assert.rejects(gateway.request(), (error) => {
    assert.ok(error instanceof FramegateError);
    assert.deepEqual([error.status, error.code, error.message, error.retry_after_s], [503, "at_capacity", "32 of 32 streams", 5]);
    return true;
  });
  assert.equal(world.timers.size, 0);
});

for (const [base, stream, socket] of [
  ["http://gate", "door", "ws://gate/ws/stream/door"],
  ["https://gate", "door", "wss://gate/ws/stream/door"],
  ["https://gate/cameras", "door", "wss://gate/cameras/ws/stream/door"],
  ["https://gate/cameras/", "a/b?c", "wss://gate/cameras/ws/stream/a%2Fb%3Fc"],
  ["https://gate/cameras", { stream_id: "door", websocket_url: "/ws/stream/secret" }, "wss://gate/cameras/ws/stream/secret"],
  ["https://gate/cameras", { stream_id: "door", websocket_url: "/cameras/ws/stream/secret" }, "wss://gate/cameras/ws/stream/secret"],
  ["https://gate", { stream_id: "door", websocket_url: "wss://other/ws/stream/secret" }, "wss://other/ws/stream/secret"],
]) {
  test(`the socket of ${JSON.stringify(stream)} at ${base} is ${socket}`, () => {
    const { world, gateway } = gatewayAt(base);
    gateway.watch(stream).close();
    gateway.publish(stream).close();
    assert.deepEqual(world.sockets.map(({ url }) => url), [socket, socket]);
  });
}

test("a publisher with a secret address asks after the stream by its id", async () => {
  const { world, gateway } = gatewayAt("http://gate");
  world.rest = { status: 404, body: { code: "session_ended", reason: "deleted" } };
  const camera = gateway.publish({ stream_id: "door", websocket_url: "/ws/stream/secret" });
  await world.socket.drop(1006);
  assert.equal(await camera.ended, "deleted");
  assert.equal(world.requests[0].url, "http://gate/stream/door");
});
