/** When a publisher may send, and under which number: credits, pace, numbering. It knows no socket and no clock. */

/** @import { Hello, Ack, SlowDown } from "./protocol.js" */
/** @typedef {"disconnected" | "credits" | "pace"} Refusal */

const SEQS = 2 ** 32;

/** Without news of its pictures for so long, a publisher sends one more to ask: an ack may have been lost. */
const PATIENCE_MS = 2000;

const TIMED = 64; // pictures on the way whose round trip is measured

export class Pacer {
  #connected = false;
  #credits = Infinity;
  #interval = 0;
  #next = 0;
  #acked = -1; // the newest acknowledged number; one before the first while there is none
  #slot = -Infinity; // when the last picture was due: a steady camera keeps its average rate
  #news = -Infinity; // when the last picture went or the last ack came
  /** When each picture on the way went. @type {Map<number, number>} */
  #sentAt = new Map();

  /** Pictures the gateway has taken. */
  acked = 0;
  /** Pictures that broke off with a line. */
  lost = 0;
  /** From the sending of a picture to its ack, the last time. @type {number | null} */
  round_trip_ms = null;

  /** Pictures sent of which nothing is known yet. */
  get onTheWay() {
    return distance(this.#acked, this.#next - 1);
  }

  /** A connection begins. @param {Hello} message */
  hello({ limits, next_seq }) {
    this.#settle(next_seq ?? 0);
    this.#connected = true;
    this.#credits = limits?.credits ?? Infinity;
    this.#interval = limits?.max_fps ? 1000 / limits.max_fps : 0;
    this.#next = next_seq ?? 0;
    this.#acked = this.#next - 1;
    this.#slot = -Infinity;
  }

  /** @param {Ack} message @param {number} now ms */
  ack({ seq, credits }, now) {
    this.#credits = credits ?? this.#credits;
    this.#news = now;
    const steps = distance(this.#acked, seq);
    if (steps > this.onTheWay) return; // an ack of no picture of ours, or one that was overtaken
    this.round_trip_ms = now - (this.#sentAt.get(seq) ?? now);
    for (const sent of this.#sentAt.keys()) if (distance(sent, seq) < SEQS / 2) this.#sentAt.delete(sent);
    this.acked += steps;
    this.#acked = seq;
  }

  /** @param {SlowDown} message */
  slowDown({ fps }) {
    this.#interval = 1000 / fps;
  }

  disconnect() {
    this.#connected = false;
  }

  /**
   * Why a picture offered now must be dropped, or null if it may go.
   *
   * @param {number} now ms
   * @returns {Refusal | null}
   */
  refusal(now) {
    if (!this.#connected) return "disconnected";
    if (this.onTheWay >= this.#credits && now - this.#news < PATIENCE_MS) return "credits";
    return now < this.#slot + this.#interval ? "pace" : null;
  }

  /** The number of the picture that goes now. @param {number} now ms */
  take(now) {
    const seq = this.#next;
    this.#next = (seq + 1) % SEQS;
    this.#news = now;
    this.#sentAt.set(seq, now);
    if (this.#sentAt.size > TIMED) this.#sentAt.delete(this.#sentAt.keys().next().value ?? seq);
    this.#slot = this.#slot === -Infinity ? now : Math.max(this.#slot + this.#interval, now - this.#interval);
    return seq;
  }

  /** The number a new connection begins with tells which pictures of the last one arrived. @param {number} next */
  #settle(next) {
    const arrived = distance(this.#acked, next - 1);
    const taken = arrived <= this.onTheWay ? arrived : 0; // more: somebody else has published meanwhile
    this.acked += taken;
    this.lost += this.onTheWay - taken;
    this.#sentAt.clear();
  }
}

/** How many steps lead from one number to a later one, through 0 after 4294967295. @param {number} from @param {number} to */
function distance(from, to) {
  return (((to - from) % SEQS) + SEQS) % SEQS;
}
