/**
 * Does for the page what must not wait for it: makes JPEGs, and keeps the pace, for the timers of a hidden page run once
 * a second. In: `{picture, width, height, quality}` or `{every_ms}` (null: none). Out: `{jpeg}`, `{error}` or `{tick}`.
 */

/** @typedef {{picture: ImageBitmap, width: number, height: number, quality: number}} Job */

const canvas = new OffscreenCanvas(1, 1);
const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
/** @type {ReturnType<typeof setInterval> | undefined} */
let pace;

self.onmessage = ({ data }) => ("every_ms" in data ? keepPace(data.every_ms) : answer(data));

/** @param {number | null} every_ms */
function keepPace(every_ms) {
  clearInterval(pace);
  if (every_ms !== null) pace = setInterval(() => self.postMessage({ tick: true }), every_ms);
}

/** @param {Job} job */
async function answer(job) {
  try {
    self.postMessage({ jpeg: await encode(job) });
  } catch (error) {
    self.postMessage({ error: String(error) });
  }
}

/** @param {Job} job */
function encode({ picture, width, height, quality }) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  context.drawImage(picture, 0, 0, width, height);
  picture.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality });
}
