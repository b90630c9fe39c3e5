/** What went wrong, in words that help; run by `npm test` in clients/js. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { wordsOfCamera, wordsOfEnd, wordsOfInsecurity, wordsOfWait } from "../../static/publish/words.js";

for (const [name, title] of [
  ["NotAllowedError", "The browser does not let this page use the camera"],
  ["SecurityError", "The browser does not let this page use the camera"],
  ["NotFoundError", "There is no camera"],
  ["OverconstrainedError", "There is no camera"],
  ["NotReadableError", "The camera is in use"],
  ["AbortError", "The camera is in use"],
]) {
  test(`a camera that fails with ${name}: ${title}`, () => {
    const words = wordsOfCamera(new DOMException("because", name));
    assert.deepEqual([words.title, words.remedies], [title, ["retry", "file"]]);
  });
}

test("a failure nobody foresaw is told in the browser's own words", () => {
  assert.equal(wordsOfCamera(new Error("lens fell off")).help, "lens fell off");
  assert.equal(wordsOfCamera(null).title, "The camera does not work");
});

test("without HTTPS the page names the command and the address", () => {
  const { help, remedies } = wordsOfInsecurity("192.0.2.7:8000");
  assert.match(help, /framegate serve --tls --host 0\.0\.0\.0.*https:\/\/192\.0\.2\.7:8000/);
  assert.deepEqual(remedies, ["file"]);
});

test("an end is told with what can be done about it", () => {
  assert.deepEqual(wordsOfEnd("second_publisher").remedies, ["retry", "renew"]);
  assert.equal(wordsOfEnd("credential"), wordsOfEnd("unauthenticated"));
  assert.equal(wordsOfEnd("scope"), wordsOfEnd("forbidden"));
  assert.equal(wordsOfEnd("image_too_large"), wordsOfEnd("message_too_big"));
  assert.equal(wordsOfEnd("something_new").title, "The stream is over: something new");
  assert.equal(wordsOfEnd(null).title, "The stream is over: ");
});

test("a wait is told with its reason", () => {
  const told = ["at_capacity", "unreachable", "shutdown", "disconnected (1006)", "something_new", null].map(wordsOfWait);
  assert.deepEqual(told, [
    "The gateway is full",
    "The gateway does not answer",
    "The gateway restarts",
    "The connection broke",
    "something new",
    "",
  ]);
});
