/** The settings of the page: what the form says, and what it offers. */

import { $, make } from "../viewer/panels.js";

/** @import { Device, Wish } from "./camera.js" */
/** @import { StreamOptions } from "../../clients/js/src/framegate.js" */
/** @typedef {{name: string, title?: string, state?: string, reason?: string | null}} Offered  an analyzer */

const SIDES = [320, 640, 960, 1280, 1920, 2560];
const RATES = [1, 2, 5, 10, 15, 25, 30, 60];
const USUAL = ""; // the chip for the gateway's own choice

/** Events: `source`, `camera`, `files`, `picture` (size, rate, quality, mirror), `stream` (what is in `stream`, in `detail`). */
export class Choices extends EventTarget {
  constructor() {
    super();
    fill($("side"), SIDES.filter((side) => side <= 1920).map((side) => [side, String(side)]), 1280);
    fill($("fps"), RATES.filter((fps) => fps <= 30).map((fps) => [fps, String(fps)]), 15);
    $("choices").onsubmit = (/** @type {Event} */ event) => event.preventDefault();
    $("source").onchange = () => this.#sourceChanged();
    $("camera").onchange = () => this.#tell("camera");
    $("files").onchange = () => this.#tell("files");
    for (const id of ["side", "fps", "quality", "mirror", "repeat"]) $(id).onchange = () => this.#tell("picture");
    $("name").onchange = () => this.#tell("stream", { name: this.stream.name });
    $("analyzer-choice").onchange = (/** @type {any} */ { target }) => this.#chosen(target);
  }

  /** @returns {"camera" | "file"} */
  get source() {
    return $("choices").elements.source.value;
  }

  set source(source) {
    $("choices").elements.source.value = source;
    this.#sourceChanged();
  }

  /** @returns {File[]} */
  get files() {
    return [...$("files").files];
  }

  /** @returns {string} */
  get camera() {
    return $("camera").value;
  }

  /** @returns {Wish} */
  get wish() {
    return { side: Number($("side").value), fps: Number($("fps").value) };
  }

  get quality() {
    return Number($("quality").value);
  }

  get mirror() {
    return $("mirror").checked;
  }

  set mirror(mirror) {
    $("mirror").checked = mirror;
  }

  /** @returns {boolean} */
  get repeat() {
    return $("repeat").checked;
  }

  /** What a stream is asked for with. @returns {StreamOptions} */
  get stream() {
    const chips = [...$("analyzer-choice").querySelectorAll("input")];
    const usual = chips.length === 0 || chips.some(({ value, checked }) => value === USUAL && checked);
    const names = chips.filter(({ value, checked }) => value !== USUAL && checked).map(({ value }) => value);
    return { name: $("name").value.trim(), analyzers: usual ? null : names };
  }

  /** @param {Device[]} devices @param {string | null} open  the one that runs */
  offerCameras(devices, open) {
    fill($("camera"), devices.length ? devices.map(({ id, label }) => [id, label]) : [["", "The one the browser gives"]], open ?? "");
  }

  /** What the camera can. @param {Wish} limits */
  offerSizes({ side, fps }) {
    fill($("side"), SIDES.filter((one) => one <= side || one === SIDES[0]).map((one) => [one, String(one)]), this.wish.side);
    fill($("fps"), RATES.filter((one) => one <= fps || one === RATES[0]).map((one) => [one, String(one)]), this.wish.fps);
  }

  /** @param {Offered[]} analyzers */
  offerAnalyzers(analyzers) {
    const usual = { name: USUAL, title: "The gateway's usual set" };
    $("analyzer-choice").replaceChildren(...[usual, ...analyzers].map(chip));
  }

  /** @param {string} text  a refusal of what was chosen */
  say(text) {
    $("choices-said").textContent = text;
  }

  #sourceChanged() {
    for (const part of $("choices").querySelectorAll("[data-for]")) part.hidden = part.dataset.for !== this.source;
    this.#tell("source");
  }

  /** The usual set and a choice of one's own exclude each other. @param {HTMLInputElement} chip */
  #chosen({ value, checked }) {
    const chips = [...$("analyzer-choice").querySelectorAll("input")];
    if (value === USUAL && checked) for (const other of chips) other.checked = other.value === USUAL;
    else chips[0].checked = false;
    this.#tell("stream", { analyzers: this.stream.analyzers });
  }

  /** @param {string} what @param {StreamOptions} [detail] */
  #tell(what, detail) {
    this.say("");
    this.dispatchEvent(new CustomEvent(what, { detail }));
  }
}

/** @param {Offered} analyzer */
function chip({ name, title, state, reason }) {
  const label = make("label");
  const box = make("input");
  box.type = "checkbox";
  box.value = name;
  box.checked = name === USUAL;
  box.disabled = state === "failed" || state === "disabled";
  label.title = reason ?? title ?? "";
  label.append(box, make("span", name === USUAL ? "Usual set" : name));
  return label;
}

/** Left alone when nothing changed, or an open list would close. @param {any} select @param {[string | number, string][]} options @param {string | number} chosen */
function fill(select, options, chosen) {
  const offered = JSON.stringify(options);
  if (select.dataset.offered !== offered) select.replaceChildren(...options.map(([value, text]) => new Option(text, String(value))));
  select.dataset.offered = offered;
  const values = options.map(([value]) => String(value));
  select.value = values.includes(String(chosen)) ? String(chosen) : values.at(-1);
}
