/**
 * Which number a picture of a WebRTC video has. Pictures come without one, but each with an RTP timestamp (RFC 3550), and
 * the gateway tells on the side which number it sent under which timestamp. No connection, no clock.
 */

/** @typedef {{seq: number, captured_us: number | null, exact: boolean}} Known  not `exact`: guessed */

const KEPT = 256; // pictures told of and not shown yet: 8 s at 30 a second
const MISSES = 30; // in a row: timestamps of this browser mean something else

export class Numbering {
  /** By RTP timestamp. @type {Map<number, {seq: number, captured_us: number | null}>} */
  #told = new Map();
  #newest = -1; // told of, by whatever message
  #last = -1; // shown
  #misses = 0;

  /**
   * @param {number} seq
   * @param {number} [rtp]  the timestamp on the wire; without one only the number is known
   * @param {number | null} [captured_us]
   */
  told(seq, rtp, captured_us = null) {
    this.#newest = seq < this.#newest - KEPT ? seq : Math.max(this.#newest, seq); // far back: another publisher began
    if (rtp === undefined) return;
    this.#told.set(rtp, { seq, captured_us });
    if (this.#told.size > KEPT) this.#told.delete(this.#told.keys().next().value ?? rtp);
  }

  /**
   * Of a picture that is shown; null if it cannot be known though others were. Where nothing is told by timestamp, or
   * the browser has none, it is taken for the newest that was told of.
   *
   * @param {number} [rtp]
   * @returns {Known | null}
   */
  of(rtp) {
    const known = rtp === undefined ? undefined : this.#told.get(rtp);
    this.#misses = known ? 0 : this.#misses + 1;
    if (!known && this.#told.size > 0 && rtp !== undefined && this.#misses < MISSES) return null;
    const guessed = this.#newest < this.#last - KEPT ? this.#newest : Math.max(this.#newest, this.#last + 1);
    this.#last = known?.seq ?? guessed;
    return { seq: this.#last, captured_us: known?.captured_us ?? null, exact: known !== undefined };
  }
}
