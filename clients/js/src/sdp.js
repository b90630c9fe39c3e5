/** The little a client must know of SDP and of HTTP's Link header to speak WHIP (RFC 9725). No connection, no clock. */

/**
 * More candidates of a connection, as `application/trickle-ice-sdpfrag` (RFC 8840). All media share one transport, so
 * they stand under the first m-line.
 *
 * @param {string} sdp  the local description
 * @param {string[]} candidates  `candidate:...`
 * @param {boolean} done  there will be no more
 */
export function fragmentOf(sdp, candidates, done) {
  /** @param {RegExp} line */
  const find = (line) => sdp.match(line)?.[0] ?? [];
  const head = [/^a=group:BUNDLE.*$/m, /^m=.*$/m, /^a=mid:.*$/m, /^a=ice-ufrag:.*$/m, /^a=ice-pwd:.*$/m].flatMap(find);
  const lines = [...head, ...candidates.map((one) => `a=${one}`), ...(done ? ["a=end-of-candidates"] : [])];
  return lines.map((line) => `${line.trim()}\r\n`).join("");
}

const LINK = /<([^>]*)>((?:\s*;\s*[\w-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]+))*)/g;
const PARAMETER = /([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]+))/g;

/**
 * The STUN and TURN servers that a Link header names (RFC 9725, section 4.6).
 *
 * @param {string | null} header
 * @returns {RTCIceServer[]}
 */
export function iceServersOf(header) {
  return [...(header ?? "").matchAll(LINK)].flatMap(([, urls, text]) => {
    const found = [...text.matchAll(PARAMETER)].map(([, name, quoted, plain]) => [name.toLowerCase(), plain ?? quoted.replace(/\\(.)/g, "$1")]);
    const { rel, username, credential } = Object.fromEntries(found);
    if (rel !== "ice-server" || !/^(stun|turn)s?:/i.test(urls)) return [];
    return [{ urls, ...(username && { username, credential }) }];
  });
}
