import assert from "node:assert/strict";
import { test } from "node:test";

import { Numbering } from "../src/numbering.js";

const exact = (seq, captured_us = null) => ({ seq, captured_us, exact: true });
const guess = (seq) => ({ seq, captured_us: null, exact: false });

test("a picture has the number that was told with its timestamp", () => {
  const numbering = new Numbering();
  for (let seq = 7; seq < 12; seq += 1) numbering.told(seq, 4294967295 - 3000 + 1000 * seq, 1e6 * seq);
  assert.deepEqual([8, 11].map((seq) => numbering.of(4294967295 - 3000 + 1000 * seq)), [exact(8, 8e6), exact(11, 11e6)]);
});

test("one whose telling was lost is nobody's, not somebody else's", () => {
  const numbering = new Numbering();
  numbering.told(1, 1000);
  assert.equal(numbering.of(2000), null);
});

test("without timestamps it is the newest told of, and never the same twice", () => {
  const numbering = new Numbering();
  numbering.told(5);
  assert.deepEqual([numbering.of(1), numbering.of(2)], [guess(5), guess(6)]);
  numbering.told(9, 77);
  assert.deepEqual(numbering.of(undefined), guess(9));
});

test("timestamps that never fit are given up after a second", () => {
  const numbering = new Numbering();
  numbering.told(5, 1);
  const found = Array.from({ length: 31 }, (_, n) => numbering.of(100 + n));
  assert.deepEqual([found[28], found[29]], [null, guess(5)]);
});

test("another publisher begins from lower numbers", () => {
  const numbering = new Numbering();
  numbering.told(5000);
  numbering.of();
  numbering.told(3);
  assert.deepEqual(numbering.of(), guess(3));
});

test("what was told of and never shown is forgotten", () => {
  const numbering = new Numbering();
  for (let seq = 0; seq < 257; seq += 1) numbering.told(seq, seq);
  assert.deepEqual([numbering.of(0), numbering.of(1)], [null, exact(1)]);
});
