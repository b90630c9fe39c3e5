/** The viewer's picture with what is seen in it: draws box N on picture N, turned upright. */

import { Boxes } from "./boxes.js";

/** @import { Detection } from "../../clients/js/src/protocol.js" */
/** @import { Zone } from "./boxes.js" */
/** @import { Pair } from "./pairing.js" */

export class Overlay {
  #canvas;
  #context;
  #boxes;
  /** @type {{picture: ImageBitmap, pair: Pair} | null} */
  #shown = null;

  /** @param {HTMLCanvasElement} canvas  the room it gets on the page is its width; its shape follows the picture */
  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    this.#boxes = new Boxes(canvas, this.#context);
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** @returns {Zone[]} */
  get zones() {
    return this.#boxes.zones;
  }

  set zones(zones) {
    this.#boxes.zones = zones;
  }

  /** Decode a picture, if that is still to be done, and draw it. Rejects when it does not decode. @param {Pair} pair */
  async show(pair) {
    const picture = pair.frame.bitmap ?? (await decoded(pair.frame.jpeg));
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
    this.#canvas.style.aspectRatio = `${picture.width} / ${picture.height}`;
    this.#canvas.style.setProperty("--shape", String(picture.width / picture.height));
    this.#boxes.fit(picture.width / picture.height);
    this.#context.drawImage(picture, 0, 0, this.#canvas.width, this.#canvas.height);
    this.#describe(pair.frame.seq, this.#boxes.draw(pair.results, { late: (pair.age_ms ?? 0) > 0 }));
  }

  /** For those who hear the page, and for tests. @param {number} seq @param {Detection[]} detections */
  #describe(seq, detections) {
    this.#canvas.dataset.seq = String(seq);
    this.#canvas.dataset.boxes = String(detections.length);
    const seen = detections.map(({ label }) => label).join(", ");
    this.#canvas.setAttribute("aria-label", seen ? `Live picture with ${seen}` : "Live picture");
  }
}

/** @param {Uint8Array | undefined} jpeg */
function decoded(jpeg) {
  const blob = new Blob([/** @type {BlobPart} */ (jpeg)], { type: "image/jpeg" });
  return createImageBitmap(blob); // turns it upright, as the boxes are
}
