import assert from "node:assert/strict";
import { test } from "node:test";

import { packFrame, readFrame, readMessage } from "../src/framegate.js";
import { bytes, vectors } from "./doubles.js";

const hex = (data) => Buffer.from(data).toString("hex");

/** The value at `analyzers.0.name`; of a picture also what the vectors call `image_hex`. */
function at(message, path) {
  if (path === "image_hex") return hex(message.jpeg);
  return path.split(".").reduce((value, key) => value?.[key], message);
}

for (const vector of vectors("server_messages.json")) {
  test(`a client reads: ${vector.name}`, () => {
    const message = readMessage(vector.text ?? bytes(vector.hex));
    assert.equal(message?.type ?? "ignored", vector.kind);
    for (const [path, value] of Object.entries(vector.fields)) assert.deepEqual(at(message, path), value, path);
  });
}

for (const { name, seq, captured_us, meta, image_hex, hex: packed } of vectors("headers.json")) {
  test(`a header packs to its bytes and back: ${name}`, () => {
    assert.equal(hex(packFrame({ seq, captured_us, meta }, bytes(image_hex))), packed);
    const { jpeg, ...frame } = readFrame(bytes(packed));
    assert.deepEqual({ seq, captured_us, meta }, { seq: frame.seq, captured_us: frame.captured_us, meta: frame.meta });
    assert.equal(hex(jpeg), image_hex);
  });
}

test("a picture is a view of the message, not a copy", () => {
  const message = bytes(vectors("headers.json")[0].hex);
  assert.equal(readFrame(message).jpeg.buffer, message.buffer);
});

test("a picture in the middle of a larger memory is read where it lies", () => {
  const message = bytes(vectors("headers.json")[1].hex);
  const larger = new Uint8Array(message.length + 10);
  larger.set(message, 10);
  assert.equal(readFrame(larger.subarray(10)).seq, 1);
});

test("a picture as broken base64 is passed over", () => {
  assert.equal(readMessage('{"type":"frame","seq":1,"image":"data:image/jpeg;base64,%%%"}'), null);
});

test("meta that the header cannot carry is refused where it is made", () => {
  assert.throws(() => packFrame({ seq: 0, meta: { a: "x".repeat(70000) } }, new Uint8Array()), RangeError);
});
