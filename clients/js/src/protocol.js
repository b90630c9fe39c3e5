/**
 * The wire protocol `framegate.v1`, seen from a client and without a socket: what a message means, what bytes to send.
 *
 * docs/protocol.md tells it for people, tests/vectors/ pin it for every language. Nothing here reads a clock.
 */

export const SUBPROTOCOL = "framegate.v1";

export const HEADER_BYTES = 24;
const MAGIC = 0x4647; // "FG"
const VERSION = 1;
const TYPE_JPEG = 1;

/**
 * @typedef {[number, number, number, number]} Box  x1, y1, x2, y2, each 0-1 of the upright frame
 * @typedef {{ingest?: Record<string, number>, analysis?: Record<string, number>, viewers?: Record<string, number>}} Dropped
 *   frames that went by, by stage of their way and reason
 * @typedef {{label: string, score: number, box: Box, id?: string, track_id?: number | null, zones?: string[],
 *   attributes?: Record<string, unknown>, person?: string | null}} Detection
 * @typedef {{version?: string, state: "loading" | "ready" | "failed" | "open", reason?: string | null,
 *   latency_ms?: number, age_ms?: number, detections?: Detection[], measures?: Record<string, number>,
 *   data?: Record<string, unknown>}} AnalyzerResult  without `detections` unless `state` is ready
 * @typedef {{type: "result", schema: string, stream_id: string, camera_id: string | null, seq: number,
 *   captured_at: string | null, received_at: string, width: number, height: number,
 *   analyzers: Record<string, AnalyzerResult>, dropped: Dropped}} Result
 * @typedef {{type: "event", id: string, phase: "new" | "update" | "end", event_type: string, stream_id: string,
 *   camera_id: string | null, severity: "info" | "warning" | "critical", label: string, score: number,
 *   started_at: string, ended_at: string | null, box: Box | null, zones: string[], seq: number | null,
 *   snapshot_url: string | null, clip_url: string | null, analyzer: string, version: string,
 *   data: Record<string, unknown>}} StreamEvent
 * @typedef {{name: string, state: string, reason?: string | null}} AnalyzerState
 * @typedef {{type: "status", state: string, reason: string | null, publishers: number, viewers: number,
 *   fps_in: number, fps_analyzed: number, analyzers: AnalyzerState[], dropped: Dropped}} Status
 * @typedef {{max_message_bytes?: number, max_pixels?: number, max_fps?: number, credits?: number}} Limits
 * @typedef {{type: "hello", protocol?: string, version?: string, stream_id?: string, limits?: Limits,
 *   next_seq?: number, resume_token?: string, analyzers?: AnalyzerState[]}} Hello
 * @typedef {{type: "ack", seq: number, credits: number, dropped: number}} Ack  of all frames sent, how many were lost
 * @typedef {{type: "slow_down", fps: number}} SlowDown
 * @typedef {{type: "bye", reason: string, retry_ms?: number}} Bye
 * @typedef {{type: "frame", seq: number, captured_us: number | null, captured_at: Date | null, jpeg: Uint8Array}} Frame
 *   a picture; `captured_us` is µs since 1970, `captured_at` the same to the millisecond
 * @typedef {{type: string, [key: string]: any}} Message  any message of the server
 */

/**
 * The message, or null for what a newer server may say and this client cannot read: it is passed over, never an error.
 *
 * @param {string | ArrayBuffer | Uint8Array} data
 * @returns {Message | null}
 */
export function readMessage(data) {
  if (typeof data !== "string") return readFrame(data);
  const message = /** @type {Message | null} */ (parseObject(data));
  if (typeof message?.type !== "string") return null;
  return message.type === "frame" ? readTextFrame(message) : message;
}

/**
 * One binary message: header, JSON meta if any, JPEG. Throws `RangeError` for meta beyond 65,511 bytes.
 *
 * @param {{seq: number, captured_us?: number | null, meta?: Record<string, unknown>}} about
 * @param {Uint8Array} jpeg
 */
export function packFrame(about, jpeg) {
  const head = packHeader(about);
  const message = new Uint8Array(head.length + jpeg.length);
  message.set(head);
  message.set(jpeg, head.length);
  return message;
}

/**
 * What stands before the JPEG, for those who join the two without copying (a `Blob`).
 *
 * @param {{seq: number, captured_us?: number | null, meta?: Record<string, unknown>}} about
 */
export function packHeader({ seq, captured_us, meta }) {
  const extra = meta && Object.keys(meta).length ? new TextEncoder().encode(JSON.stringify(meta)) : new Uint8Array();
  const length = HEADER_BYTES + extra.length;
  if (length > 0xffff) throw new RangeError(`meta must be at most ${0xffff - HEADER_BYTES} bytes of JSON, got ${extra.length}`);
  const head = new Uint8Array(length);
  const view = new DataView(head.buffer);
  view.setUint16(0, MAGIC);
  view.setUint8(2, VERSION);
  view.setUint8(3, TYPE_JPEG);
  view.setUint16(4, length);
  view.setUint32(8, seq);
  view.setBigUint64(16, BigInt(Math.round(captured_us ?? 0)));
  head.set(extra, HEADER_BYTES);
  return head;
}

/**
 * The parts of a binary message, or null if it is none of ours. The JPEG is a view of the same memory.
 *
 * @param {ArrayBuffer | Uint8Array} data
 * @returns {(Frame & {meta: Record<string, unknown>}) | null}
 */
export function readFrame(data) {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  if (bytes.length < HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if (view.getUint16(0) !== MAGIC || view.getUint8(2) !== VERSION || view.getUint8(3) !== TYPE_JPEG) return null;
  const length = view.getUint16(4);
  if (length < HEADER_BYTES || length > bytes.length) return null;
  const micros = Number(view.getBigUint64(16));
  const meta = length > HEADER_BYTES ? parseObject(new TextDecoder().decode(bytes.subarray(HEADER_BYTES, length))) : {};
  return { ...frame(view.getUint32(8), micros || null, bytes.subarray(length)), meta: meta ?? {} };
}

/**
 * @param {Message} message
 * @returns {Frame | null}
 */
function readTextFrame({ seq, captured_at, image }) {
  if (typeof image !== "string") return null;
  const captured = captured_at ? Date.parse(captured_at) * 1000 : null;
  try {
    const bytes = atob(image.slice(image.indexOf(",") + 1));
    return frame(seq, captured, Uint8Array.from(bytes, (letter) => letter.charCodeAt(0)));
  } catch {
    return null;
  }
}

/**
 * @param {number} seq
 * @param {number | null} captured_us
 * @param {Uint8Array} jpeg
 * @returns {Frame}
 */
function frame(seq, captured_us, jpeg) {
  return { type: "frame", seq, captured_us, captured_at: captured_us === null ? null : new Date(captured_us / 1000), jpeg };
}

/**
 * @param {string} text
 * @returns {Record<string, any> | null}
 */
function parseObject(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}
