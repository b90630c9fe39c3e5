/** Draws boxes, labels and zones on a canvas over any picture: crisp at any size, legible on any ground. */

/** @import { AnalyzerResult, Detection } from "../../clients/js/src/protocol.js" */
/**
 * @typedef {{name: string, points: [number, number][]}} Zone  corners, each 0-1 of the frame
 * @typedef {{left: number, top: number, right: number, bottom: number}} Area  px of the canvas
 */

const COLOURS = ["#5eead4", "#fbbf6b", "#ff9d94", "#9cc9ff", "#cdb8ff", "#a3e38a", "#ff9ed2", "#f3ea7c"];
const INK = "#0d1113";
const SHADE = "rgb(8 12 14 / 60%)";
const FONT_PX = 12;

export class Boxes {
  /** @type {Zone[]} */
  zones = [];
  /** Left and right change places, letters do not. */
  mirrored = false;
  #canvas;
  #context;
  /** In order of appearance, so that the first labels never share one. @type {Map<string, string>} */
  #colours = new Map();
  /** Where tags are in this picture. @type {Area[]} */
  #tags = [];

  /** @param {HTMLCanvasElement} canvas @param {CanvasRenderingContext2D} context */
  constructor(canvas, context) {
    this.#canvas = canvas;
    this.#context = context;
  }

  /**
   * What was drawn. Boxes are dashed if they were seen in an earlier picture.
   *
   * @param {Record<string, AnalyzerResult>} results  by analyzer
   * @param {{late?: boolean}} how
   * @returns {Detection[]}
   */
  draw(results, { late = false } = {}) {
    this.#tags = [];
    for (const zone of this.zones) this.#drawZone(zone);
    const told = Object.entries(results).flatMap(([name, { detections = [] }]) => detections.map((one) => ({ name, one })));
    const seen = once(told);
    for (const { name, one } of seen) this.#drawBox(one, { late, plain: one.label === name });
    // A label that only repeats its analyzer ("motion") says nothing the colour does not. The surest find room first.
    const named = seen.filter(({ name, one }) => one.label !== name).map(({ one }) => one);
    for (const detection of named.sort((a, b) => b.score - a.score)) this.#drawLabel(detection);
    return seen.map(({ one }) => one);
  }

  /** The backing store gets the pixels of the screen, so that lines and letters are sharp. @param {number} shape  width / height */
  fit(shape) {
    const wide = Math.max(1, Math.round(this.#canvas.clientWidth * devicePixelRatio));
    const high = Math.max(1, Math.round(wide / shape));
    if (this.#canvas.width !== wide) this.#canvas.width = wide;
    if (this.#canvas.height !== high) this.#canvas.height = high;
  }

  /** @param {Detection} detection @param {{late: boolean, plain: boolean}} how */
  #drawBox({ label, box }, { late, plain }) {
    const [x1, y1, x2, y2] = this.#pixels(box);
    const [pen, dash] = [this.#px(plain ? 1 : 2), this.#px(6)];
    this.#context.setLineDash(late ? [dash, dash * 0.7] : []);
    for (const [style, width] of /** @type {[string, number][]} */ ([[SHADE, pen * 2], [this.#colourOf(label), pen]])) {
      this.#context.strokeStyle = style;
      this.#context.lineWidth = width;
      this.#context.beginPath();
      this.#context.roundRect(x1, y1, x2 - x1, y2 - y1, this.#px(3));
      this.#context.stroke();
    }
    this.#context.setLineDash([]);
  }

  /** Above its box, else below, else inside it; where other tags leave no room, the box must do. @param {Detection} detection */
  #drawLabel(detection) {
    const [x1, y1, , y2] = this.#pixels(detection.box);
    const text = captionOf(detection);
    const tops = [y1 - this.#tagHeight, y2, y1].filter((top) => top >= 0 && top + this.#tagHeight <= this.#canvas.height);
    for (const top of tops) if (this.#drawTag(text, x1, top, this.#colourOf(detection.label))) return;
  }

  /** @param {Zone} zone */
  #drawZone({ name, points }) {
    if (points.length < 2) return;
    const corners = points.map(([x, y]) => [this.#across(x) * this.#canvas.width, y * this.#canvas.height]);
    this.#context.beginPath();
    for (const [x, y] of corners) this.#context.lineTo(x, y);
    this.#context.closePath();
    this.#context.fillStyle = "rgb(255 255 255 / 9%)";
    this.#context.fill();
    this.#context.strokeStyle = "rgb(255 255 255 / 75%)";
    this.#context.lineWidth = this.#px(1.5);
    this.#context.stroke();
    this.#drawTag(name, corners[0][0], corners[0][1], "#ffffff");
  }

  get #tagHeight() {
    return this.#px(FONT_PX + 6);
  }

  /** Whether there was room for it. @param {string} text @param {number} x @param {number} top @param {string} colour */
  #drawTag(text, x, top, colour) {
    this.#context.font = `600 ${this.#px(FONT_PX)}px system-ui, sans-serif`;
    this.#context.textBaseline = "middle";
    const [width, height] = [this.#context.measureText(text).width + this.#px(10), this.#tagHeight];
    const left = Math.max(0, Math.min(x, this.#canvas.width - width));
    const tag = { left, top, right: left + width, bottom: top + height };
    if (this.#tags.some((other) => overlap(other, tag))) return false;
    this.#tags.push(tag);
    this.#context.fillStyle = colour;
    this.#context.beginPath();
    this.#context.roundRect(left, top, width, height, this.#px(3));
    this.#context.fill();
    this.#context.fillStyle = INK;
    this.#context.fillText(text, left + this.#px(5), top + height / 2 + this.#px(0.5));
    return true;
  }

  /** @param {string} label */
  #colourOf(label) {
    const colour = this.#colours.get(label) ?? COLOURS[this.#colours.size % COLOURS.length];
    this.#colours.set(label, colour);
    return colour;
  }

  /** @param {Detection["box"]} box */
  #pixels([x1, y1, x2, y2]) {
    const { width, height } = this.#canvas;
    const [left, right] = [this.#across(x1), this.#across(x2)].sort((a, b) => a - b);
    return [left * width, y1 * height, right * width, y2 * height];
  }

  /** @param {number} x  0-1 of the frame */
  #across(x) {
    return this.mirrored ? 1 - x : x;
  }

  /** @param {number} css px as on the page */
  #px(css) {
    return css * devicePixelRatio;
  }
}

/** @param {Area} a @param {Area} b */
const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

/** "person · Alex 0.91 #3" @param {Detection} detection */
export function captionOf({ label, score, track_id, person }) {
  const name = person ? `${label} · ${person}` : label;
  return `${name} ${score.toFixed(2)}${track_id == null ? "" : ` #${track_id}`}`;
}

/**
 * Analyzers may tell of the same detection, with the track's number and without: it is drawn once, with it.
 *
 * @param {{name: string, one: Detection}[]} told
 */
function once(told) {
  const known = new Map();
  for (const each of told) {
    const key = [each.one.label, ...each.one.box].join();
    if (known.get(key)?.one.track_id == null) known.set(key, each);
  }
  return [...known.values()];
}
