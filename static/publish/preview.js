/** The preview: what goes out, with what is seen over it, and the words that stand there when nothing goes out. */

import { Boxes } from "../viewer/boxes.js";
import { $ } from "../viewer/panels.js";

/** @import { AnalyzerResult } from "../../clients/js/src/protocol.js" */
/** @import { Remedy, Words } from "./words.js" */

const FRESH_MS = 1500; // boxes older than this say nothing about the picture of now

export class Preview {
  #canvas = $("boxes");
  #context = this.#canvas.getContext("2d");
  #boxes = new Boxes(this.#canvas, this.#context);
  /** @type {Map<string, {result: AnalyzerResult, at: number}>} */
  #seen = new Map();
  #shape = 16 / 9;

  constructor() {
    new ResizeObserver(() => this.draw()).observe(this.#canvas);
  }

  /** Only the preview is turned around, never the picture that goes out. @param {boolean} mirrored */
  set mirrored(mirrored) {
    this.#boxes.mirrored = mirrored;
    $("shot").toggleAttribute("data-mirrored", mirrored);
    this.draw();
  }

  /** @param {any[]} zones */
  set zones(zones) {
    this.#boxes.zones = zones;
  }

  /** What the picture's width and height are; null while there is none. @param {{width: number, height: number} | null} shot */
  fit(shot) {
    $("frame").toggleAttribute("data-empty", shot === null);
    if (!shot || this.#shape === shot.width / shot.height) return;
    this.#shape = shot.width / shot.height;
    $("shot").style.setProperty("--shape", String(this.#shape));
    this.draw();
  }

  /** @param {"video" | "image"} element */
  use(element) {
    $("preview").hidden = element !== "video";
    $("still").hidden = element !== "image";
  }

  /** @param {Record<string, AnalyzerResult>} analyzers  of one result message */
  result(analyzers) {
    for (const [name, result] of Object.entries(analyzers)) if (result.detections) this.#seen.set(name, { result, at: performance.now() });
    this.draw();
  }

  clear() {
    this.#seen.clear();
    this.draw();
  }

  draw() {
    const now = performance.now();
    for (const [name, { at }] of this.#seen) if (now - at > FRESH_MS) this.#seen.delete(name);
    this.#boxes.fit(this.#shape);
    this.#context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    const drawn = this.#boxes.draw(Object.fromEntries([...this.#seen].map(([name, { result }]) => [name, result])));
    this.#canvas.dataset.boxes = String(drawn.length);
    const labels = drawn.map(({ label }) => label).join(", ");
    const label = labels ? `Camera picture with ${labels}` : "Camera picture";
    if (this.#canvas.getAttribute("aria-label") !== label) this.#canvas.setAttribute("aria-label", label);
  }

  /** Words over the picture; null takes them away. @param {Words | null} words */
  say(words) {
    $("notice").hidden = words === null;
    put($("notice-title"), words?.title ?? "");
    put($("notice-help"), words?.help ?? "");
    const buttons = /** @type {[string, Remedy][]} */ ([["retry", "retry"], ["renew", "renew"], ["pick", "file"]]);
    for (const [id, remedy] of buttons) $(id).hidden = !words?.remedies?.includes(remedy);
  }

  /** A short line in the corner of the picture. @param {string} text */
  note(text) {
    $("note").hidden = text === "";
    put($("note"), text);
  }
}

/** Only what is new, or a screen reader would say it again and again. @param {HTMLElement} element @param {string} text */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
