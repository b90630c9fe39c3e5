import assert from "node:assert/strict";
import { test } from "node:test";

import { Mailbox } from "../src/framegate.js";

test("put replaces the oldest when full, and counts it", async () => {
  const mailbox = new Mailbox(2);
  [1, 2, 3].forEach((item) => mailbox.put(item));
  assert.deepEqual([(await mailbox.next()).value, (await mailbox.next()).value, mailbox.dropped], [2, 3, 1]);
});

test("next waits for the next item", async () => {
  const mailbox = new Mailbox(2);
  const next = mailbox.next();
  mailbox.put("news");
  assert.deepEqual(await next, { value: "news", done: false });
});

test("close ends the consumer after what is left", async () => {
  const mailbox = new Mailbox(2);
  mailbox.put(1);
  mailbox.close();
  mailbox.put(2);
  assert.deepEqual(await Array.fromAsync?.(mailbox) ?? [(await mailbox.next()).value], [1]);
  assert.equal((await mailbox.next()).done, true);
});

test("close wakes a consumer that waits", async () => {
  const mailbox = new Mailbox(2);
  const next = mailbox.next();
  mailbox.close();
  assert.equal((await next).done, true);
});

test("a consumer that leaves is told of once", async () => {
  let told = 0;
  const mailbox = new Mailbox(2, () => (told += 1));
  mailbox.put(1);
  for await (const _ of mailbox) break;
  mailbox.close();
  assert.equal(told, 1);
});
