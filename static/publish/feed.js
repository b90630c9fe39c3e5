/**
 * From a source to a publisher, in time or not at all: each tick takes the picture of that moment if it may go, and
 * drops it, counted, if not. Nothing is queued; at most one picture is being encoded. Knows neither page nor clock.
 */

/** @import { Publisher, TrackPublisher } from "../../clients/js/src/framegate.js" */
/** @import { Picture, Shape } from "./encoder.js" */
/**
 * @typedef {{picture: Picture, width: number, height: number}} Shot  what a source shows now, px
 * @typedef {{encode: (picture: Picture, shape: Shape) => Promise<Blob>}} Encodes
 * @typedef {{at: number, bytes: number}} Sent
 */

const KEPT = 240; // pictures the rates are made of: 4 s at 60 a second
const LEAST_QUALITY = 0.35;

export class Feed {
  /** @type {Publisher | TrackPublisher | null} */
  publisher = null;
  /** The source's picture of now; null while it has none. @type {() => Shot | null} */
  shoot = () => null;
  /** Ticks that found the last picture still being encoded. */
  busy = 0;
  /** Pictures that could not be read. */
  failed = 0;
  /** What went out last, px. @type {{width: number, height: number} | null} */
  size = null;
  /** How much smaller than wished pictures must be for the gateway to take them, 0-1. */
  #squeeze = 1;
  #wish = { side: 1280, quality: 0.8 };
  #encoding = false;
  /** @type {Sent[]} */
  #sent = [];

  /** @param {Encodes} encoder @param {{now?: () => number, wall?: () => number}} clocks  ms */
  constructor(encoder, { now = () => performance.now(), wall = Date.now } = {}) {
    this.encoder = encoder;
    this.now = now;
    this.wall = wall;
  }

  /** The longest side in px, and the quality 0-1; larger than the gateway takes, it is squeezed. @param {{side: number, quality: number}} wish */
  set wish(wish) {
    this.#wish = wish;
    this.#squeeze = 1;
  }

  /** Look at the source now. */
  async tick() {
    const { publisher } = this;
    const shot = publisher && this.shoot();
    if (!publisher || !shot) return;
    if (this.#encoding) {
      this.busy += 1;
      return;
    }
    if (!publisher.offer()) return;
    this.#encoding = true;
    const captured_at = this.wall();
    const shape = this.#shapeOf(shot);
    const jpeg = await this.encoder.encode(shot.picture, shape).catch(() => null);
    this.#encoding = false;
    if (jpeg === null) this.failed += 1;
    else if (publisher === this.publisher) this.#send(jpeg, shape, captured_at);
  }

  /** Over the last so many ms. @param {number} over_ms */
  rates(over_ms = 2000) {
    const since = this.now() - over_ms;
    const recent = this.#sent.filter(({ at }) => at > since);
    const bytes = recent.reduce((sum, { bytes }) => sum + bytes, 0);
    return { fps: recent.length / (over_ms / 1000), kb_s: bytes / over_ms, kb: recent.length ? bytes / recent.length / 1000 : 0 };
  }

  /** @param {Blob} jpeg @param {Shape} shape @param {number} captured_at */
  #send(jpeg, shape, captured_at) {
    const publisher = /** @type {Publisher | TrackPublisher} */ (this.publisher);
    if (jpeg.size > publisher.max_bytes) this.#squeeze *= 0.85;
    if (publisher.send(jpeg, { captured_at }) === null) return;
    this.size = { width: shape.width, height: shape.height };
    this.#sent.push({ at: this.now(), bytes: jpeg.size });
    if (this.#sent.length > KEPT) this.#sent.shift();
  }

  /** First quality gives way, then size. @param {Shot} shot @returns {Shape} */
  #shapeOf({ width, height }) {
    const quality = Math.max(LEAST_QUALITY, this.#wish.quality * this.#squeeze);
    const squeeze = Math.min(1, (this.#wish.quality * this.#squeeze) / LEAST_QUALITY);
    const scale = Math.min(1, (this.#wish.side * squeeze) / Math.max(width, height));
    return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)), quality };
  }
}
