/** Makes JPEGs of what is on the page: in a worker where the browser can, on a canvas of the page elsewhere. */

/** @typedef {{width: number, height: number, quality: number}} Shape  px; quality 0-1 */
/** @typedef {HTMLVideoElement | HTMLImageElement} Picture */

export class Encoder {
  /** @type {Worker | null} */
  #worker = null;
  #canvas = document.createElement("canvas");
  /** @type {{resolve: (jpeg: Blob) => void, reject: (reason: Error) => void} | null} */
  #waiting = null;
  #every = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pace;

  /** @param {() => void} onTick */
  constructor(onTick) {
    this.onTick = onTick;
    if (typeof OffscreenCanvas === "undefined" || typeof createImageBitmap === "undefined") return;
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#heard(data);
    this.#worker.onerror = () => this.#doWithout();
  }

  /** Whether encoding costs the page itself nothing. */
  get inWorker() {
    return this.#worker !== null;
  }

  /** Call `onTick` so often, even while the page is hidden; 0: never. @param {number} fps */
  pace(fps) {
    this.#every = fps > 0 ? 1000 / fps : 0;
    clearInterval(this.#pace);
    if (this.#worker) this.#worker.postMessage({ every_ms: this.#every || null });
    else if (this.#every) this.#pace = setInterval(this.onTick, this.#every);
  }

  /**
   * One at a time: the next may be asked for when the last is there. Rejects when the picture cannot be read.
   *
   * @param {Picture} picture @param {Shape} shape
   * @returns {Promise<Blob>}
   */
  async encode(picture, shape) {
    if (!this.#worker) return this.#encodeHere(picture, shape);
    const bitmap = await createImageBitmap(picture);
    if (!this.#worker) return this.#encodeHere(picture, shape); // it died meanwhile
    this.#worker.postMessage({ picture: bitmap, ...shape }, [bitmap]);
    return new Promise((resolve, reject) => (this.#waiting = { resolve, reject }));
  }

  /** @param {{jpeg?: Blob, error?: string, tick?: true}} said */
  #heard({ jpeg, error, tick }) {
    if (tick) return this.onTick();
    const waiting = this.#waiting;
    this.#waiting = null;
    if (jpeg) waiting?.resolve(jpeg);
    else waiting?.reject(new Error(error));
  }

  /** The worker did not start or broke: slower, but it goes on. */
  #doWithout() {
    this.#worker?.terminate();
    this.#worker = null;
    this.#waiting?.reject(new Error("the worker broke"));
    this.#waiting = null;
    if (this.#every) this.pace(1000 / this.#every);
  }

  /** @param {Picture} picture @param {Shape} shape @returns {Promise<Blob>} */
  #encodeHere(picture, { width, height, quality }) {
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#canvas.getContext("2d", { alpha: false })?.drawImage(picture, 0, 0, width, height);
    return new Promise((resolve, reject) => {
      this.#canvas.toBlob((jpeg) => (jpeg ? resolve(jpeg) : reject(new Error("no JPEG"))), "image/jpeg", quality);
    });
  }
}
