/**
 * Which picture to show next, and with whose boxes. Pictures and results come apart, late and with gaps; this knows
 * neither the page nor a clock.
 *
 * In step: a picture waits until everybody who looks at it has reported, so boxes sit on the very frame they belong to.
 * Smooth: every picture at once, with the newest boxes there are and their age.
 */

/** @import { AnalyzerResult, Result } from "../../clients/js/src/protocol.js" */
/**
 * @typedef {{seq: number, jpeg?: Uint8Array, bitmap?: ImageBitmap}} Frame  a picture, still to be decoded or decoded
 * @typedef {{frame: Frame, results: Record<string, AnalyzerResult>, age_ms: number | null}} Pair
 *   `age_ms`: how much older than the picture the oldest boxes are, null without boxes
 * @typedef {{seq: number, at: number, gap_ms: number, result: AnalyzerResult}} Reporter
 */

const KEPT = 90; // pictures and results: 3 s at 30 a second
const HELD = 30; // of those that are decoded, which are large
const QUIET_MS = 1000; // who has not reported for so long is not waited for
const SLOW_MS = 500; // nor is who reports less often than this, while others do

export class Pairing {
  /** @type {"step" | "smooth"} */
  mode = "step";
  /** @type {Map<number, {frame: Frame, at: number}>} */
  #pictures = new Map();
  /** @type {Map<number, Record<string, AnalyzerResult>>} */
  #results = new Map();
  /** @type {Map<string, Reporter>} */
  #reporters = new Map();
  #newest = -1;
  #shown = -1;
  #shownAt = -Infinity;

  /** @param {Frame} frame @param {number} now ms */
  picture(frame, now) {
    if (frame.seq < this.#newest) this.reset(); // numbers only fall when another publisher began
    this.#newest = frame.seq;
    keep(this.#pictures, frame.seq, { frame, at: now }, (old) => old.frame.seq > this.#shown && release(old));
    const held = [...this.#pictures.values()].filter(({ frame: { bitmap, seq } }) => bitmap && seq > this.#shown);
    if (held.length > HELD) this.#forget(held[0]);
  }

  /** @param {Result} message @param {number} now ms */
  result({ seq, analyzers }, now) {
    for (const [name, result] of Object.entries(analyzers)) {
      if (!result.detections) continue; // loading or failed: nobody has looked
      const last = this.#reporters.get(name);
      const gap = last ? now - last.at : 0;
      const gap_ms = last?.gap_ms ? 0.7 * last.gap_ms + 0.3 * gap : gap;
      this.#reporters.set(name, { seq, at: now, gap_ms, result });
      keep(this.#results, seq, { ...this.#results.get(seq), [name]: result });
    }
  }

  reset() {
    for (const [seq, picture] of this.#pictures) if (seq > this.#shown) release(picture);
    for (const map of [this.#pictures, this.#results, this.#reporters]) map.clear();
    this.#newest = this.#shown = -1;
    this.#shownAt = -Infinity;
  }

  /** What to show now, or null while nothing new is due. @param {number} now ms @returns {Pair | null} */
  next(now) {
    const seq = this.mode === "smooth" ? this.#newest : this.#due(now);
    const picture = this.#pictures.get(seq);
    if (!picture || seq <= this.#shown) return null;
    for (const [passed, other] of this.#pictures) if (passed > this.#shown && passed < seq) release(other);
    this.#shown = seq;
    this.#shownAt = now;
    if (this.mode === "smooth") return { frame: picture.frame, ...this.#newestResults(picture.at, now) };
    const results = this.#results.get(seq) ?? {};
    return { frame: picture.frame, results, age_ms: Object.keys(results).length ? 0 : null };
  }

  /** @param {{frame: Frame}} picture */
  #forget(picture) {
    release(picture);
    this.#pictures.delete(picture.frame.seq);
  }

  /** @param {number} now */
  #due(now) {
    const awaited = this.#awaited(now);
    if (awaited.length === 0 || now - this.#shownAt > QUIET_MS) return this.#newest;
    const seqs = [...this.#results.keys()].filter((seq) => seq > this.#shown && this.#pictures.has(seq));
    return Math.max(-1, ...seqs.filter((seq) => awaited.every(([name, { seq: reached }]) => reached > seq || this.#results.get(seq)?.[name])));
  }

  /** Those whose word on a picture is worth waiting for. @param {number} now */
  #awaited(now) {
    const awake = [...this.#reporters].filter(([, { at }]) => now - at < QUIET_MS);
    const quick = awake.filter(([, { gap_ms }]) => gap_ms <= SLOW_MS);
    return quick.length ? quick : awake;
  }

  /** @param {number} pictureAt @param {number} now */
  #newestResults(pictureAt, now) {
    const fresh = [...this.#reporters].filter(([, { at }]) => now - at < 2 * QUIET_MS);
    const ages = fresh.map(([, { seq, result }]) => pictureAt - (this.#pictures.get(seq)?.at ?? now - (result.age_ms ?? 0)));
    const results = Object.fromEntries(fresh.map(([name, { result }]) => [name, result]));
    return { results, age_ms: ages.length ? Math.max(0, ...ages) : null };
  }
}

/**
 * @template T @param {Map<number, T>} map @param {number} key @param {T} value
 * @param {(value: T) => unknown} [onDrop]
 */
function keep(map, key, value, onDrop = () => {}) {
  map.set(key, value);
  if (map.size <= KEPT) return;
  const [oldest, dropped] = map.entries().next().value ?? [key, value];
  map.delete(oldest);
  onDrop(dropped);
}

/** A decoded picture that nobody will see gives its memory back; one that was shown is whose it was shown by. @param {{frame: Frame}} picture */
function release({ frame }) {
  frame.bitmap?.close();
}
