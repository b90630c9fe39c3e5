/** Draws a picture and, over it, boxes, labels and zones: crisp at any size, legible on any picture. */

/** @import { Detection } from "../../clients/js/src/protocol.js" */
/** @import { Pair } from "./pairing.js" */
/** @typedef {{name: string, points: [number, number][]}} Zone  corners, each 0-1 of the frame */

const COLOURS = ["#5eead4", "#fbbf6b", "#ff9d94", "#9cc9ff", "#cdb8ff", "#a3e38a", "#ff9ed2", "#f3ea7c"];
const INK = "#0d1113";
const SHADE = "rgb(8 12 14 / 60%)";
const FONT_PX = 12.5;

export class Overlay {
  /** @type {Zone[]} */
  zones = [];
  #canvas;
  #context;
  /** In order of appearance, so that the first labels never share one. @type {Map<string, string>} */
  #colours = new Map();
  /** @type {{picture: ImageBitmap, pair: Pair} | null} */
  #shown = null;

  /** @param {HTMLCanvasElement} canvas  the room it gets on the page is its width; its shape follows the picture */
  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Decode a picture and draw it. Rejects when it does not decode. @param {Pair} pair */
  async show(pair) {
    const jpeg = new Blob([/** @type {BlobPart} */ (pair.frame.jpeg)], { type: "image/jpeg" });
    const picture = await createImageBitmap(jpeg); // turns it upright, as the boxes are
    this.#shown?.picture.close();
    this.#shown = { picture, pair };
    this.draw();
  }

  clear() {
    this.#shown?.picture.close();
    this.#shown = null;
    this.#context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    this.#canvas.setAttribute("aria-label", "No picture");
  }

  draw() {
    if (!this.#shown) return;
    const { picture, pair } = this.#shown;
    this.#fit(picture);
    this.#context.drawImage(picture, 0, 0, this.#canvas.width, this.#canvas.height);
    for (const zone of this.zones) this.#drawZone(zone);
    const detections = Object.values(pair.results).flatMap(({ detections = [] }) => detections);
    for (const detection of detections) this.#drawBox(detection, (pair.age_ms ?? 0) > 0);
    for (const detection of detections) this.#drawLabel(detection);
    this.#describe(pair.frame.seq, detections);
  }

  /** The backing store gets the pixels of the screen, so that lines and letters are sharp. @param {ImageBitmap} picture */
  #fit({ width, height }) {
    this.#canvas.style.aspectRatio = `${width} / ${height}`;
    this.#canvas.style.setProperty("--shape", String(width / height));
    const wide = Math.max(1, Math.round(this.#canvas.clientWidth * devicePixelRatio));
    const high = Math.max(1, Math.round((wide * height) / width));
    if (this.#canvas.width !== wide) this.#canvas.width = wide;
    if (this.#canvas.height !== high) this.#canvas.height = high;
  }

  /** Dashed means: seen in an earlier picture. @param {Detection} detection @param {boolean} late */
  #drawBox({ label, box }, late) {
    const [x1, y1, x2, y2] = this.#pixels(box);
    const [pen, dash] = [this.#px(2), this.#px(6)];
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

  /** On top of its box, or inside it at the upper edge of the picture. @param {Detection} detection */
  #drawLabel(detection) {
    const [x1, y1] = this.#pixels(detection.box);
    this.#drawTag(captionOf(detection), x1 - this.#px(1), y1 - this.#px(1), this.#colourOf(detection.label));
  }

  /** @param {Zone} zone */
  #drawZone({ name, points }) {
    if (points.length < 2) return;
    const corners = points.map(([x, y]) => [x * this.#canvas.width, y * this.#canvas.height]);
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

  /** @param {string} text @param {number} x left edge @param {number} y lower edge @param {string} colour */
  #drawTag(text, x, y, colour) {
    this.#context.font = `600 ${this.#px(FONT_PX)}px system-ui, sans-serif`;
    this.#context.textBaseline = "middle";
    const [width, height] = [this.#context.measureText(text).width + this.#px(10), this.#px(FONT_PX + 7)];
    const left = Math.max(0, Math.min(x, this.#canvas.width - width));
    const top = Math.max(0, y - height);
    this.#context.fillStyle = colour;
    this.#context.beginPath();
    this.#context.roundRect(left, top, width, height, this.#px(3));
    this.#context.fill();
    this.#context.fillStyle = INK;
    this.#context.fillText(text, left + this.#px(5), top + height / 2 + this.#px(0.5));
  }

  /** For those who hear the page, and for tests. @param {number} seq @param {Detection[]} detections */
  #describe(seq, detections) {
    this.#canvas.dataset.seq = String(seq);
    this.#canvas.dataset.boxes = String(detections.length);
    const seen = detections.map(({ label }) => label).join(", ");
    this.#canvas.setAttribute("aria-label", seen ? `Live picture with ${seen}` : "Live picture");
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
    return [x1 * width, y1 * height, x2 * width, y2 * height];
  }

  /** @param {number} css px as on the page */
  #px(css) {
    return css * devicePixelRatio;
  }
}

/** "person · Alex 0.91 #3" @param {Detection} detection */
export function captionOf({ label, score, track_id, person }) {
  const name = person ? `${label} · ${person}` : label;
  return `${name} ${score.toFixed(2)}${track_id === undefined ? "" : ` #${track_id}`}`;
}

