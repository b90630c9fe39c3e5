import assert from "node:assert/strict";
import { test } from "node:test";

import { fragmentOf, iceServersOf } from "../src/sdp.js";
import { OFFER } from "./doubles.js";

test("a fragment names the transport by its m-line and its secrets, then the candidates (RFC 9725, section 4.3)", () => {
  const candidates = ["candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host"];
  const lines = ["a=group:BUNDLE 0", "m=video 9 UDP/TLS/RTP/SAVPF 96", "a=mid:0", "a=ice-ufrag:u", "a=ice-pwd:p"];
  assert.equal(fragmentOf(OFFER, candidates, false), [...lines, `a=${candidates[0]}`, ""].join("\r\n"));
  assert.equal(fragmentOf(OFFER, [], true), [...lines, "a=end-of-candidates", ""].join("\r\n"));
});

for (const [header, servers] of [
  [null, []],
  ["<stun:stun.example.net>; rel=\"ice-server\"", [{ urls: "stun:stun.example.net" }]],
  [
    '<stun:a.example>; rel=ice-server, <turn:b.example?transport=udp>; rel="ice-server"; username="u,1"; credential="p\\"w"; credential-type="password"',
    [{ urls: "stun:a.example" }, { urls: "turn:b.example?transport=udp", username: "u,1", credential: 'p"w' }],
  ],
  ['<https://a.example>; rel="ice-server", <stun:a.example>; rel="next"', []],
]) {
  test(`the ICE servers of ${header}`, () => assert.deepEqual(iceServersOf(header), servers));
}
