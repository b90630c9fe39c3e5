/** The settings of the page: what the form says, and what it offers. */

import { keep, memory, recall } from "../viewer/memory.js";
import { $, make } from "../viewer/panels.js";

/** @import { Device, Wish } from "./camera.js" */
/** @import { StreamOptions } from "../../clients/js/src/framegate.js" */
/** @typedef {{name: string, title?: string, state?: string, reason?: string | null}} Offered  an analyzer */

const SIDES = [320, 640, 960, 1280, 1920, 2560];
const RATES = [1, 2, 5, 10, 15, 25, 30, 60];
const USUAL = ""; // the chip for the gateway's own choice
const KEY = "framegate.publish.choices";

/** Events: `source`, `camera`, `files`, `picture` (size, rate, quality, mirror), `stream` (what is in `stream`, in `detail`). */
export class Choices extends EventTarget {
  #kept = memory("localStorage");
  /** What was chosen at an earlier visit. */
  #known = recall(this.#kept, KEY);

  constructor() {
    super();
    const { side = 1280, fps = 15, quality = 0.8 } = this.#known;
    fill($("side"), SIDES.filter((one) => one <= Math.max(1920, side)).map((one) => [one, String(one)]), side);
    fill($("fps"), RATES.filter((one) => one <= Math.max(30, fps)).map((one) => [one, String(one)]), fps);
    $("quality").value = [...$("quality").options].some(({ value }) => value === String(quality)) ? String(quality) : "0.8";
    $("choices").onsubmit = (/** @type {Event} */ event) => event.preventDefault();
    $("source").onchange = () => this.#sourceChanged();
    $("camera").onchange = () => this.#remember({ camera: this.camera }, "camera");
    $("files").onchange = () => this.#tell("files");
    for (const id of ["mirror", "repeat"]) $(id).onchange = () => this.#tell("picture");
    for (const id of ["side", "fps", "quality"]) $(id).onchange = () => this.#remember({ [id]: Number($(id).value) }, "picture");
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

  /** The one that was chosen, now or at an earlier visit. @returns {string} */
  get camera() {
    return $("camera").value || this.#known.camera || "";
  }

  /** The camera that was chosen without this form, or "" when the one of an earlier visit is not there. */
  set camera(id) {
    this.#remember({ camera: id });
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
    const known = devices.some(({ id }) => id === this.#known.camera) ? this.#known.camera : null;
    /** @type {[string, string][]} */
    const any = open === null && known === null ? [["", "The one the browser gives"]] : [];
    fill($("camera"), [...any, .../** @type {[string, string][]} */ (devices.map(({ id, label }) => [id, label]))], open ?? known ?? "");
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
    if (Array.isArray(this.#known.analyzers)) this.#check(this.#known.analyzers);
  }

  /** As far as they are still there. @param {string[]} names  of analyzers */
  #check(names) {
    const chips = [...$("analyzer-choice").querySelectorAll("input")];
    const there = chips.filter(({ value, disabled }) => value !== USUAL && names.includes(value) && !disabled);
    if (there.length < names.length && there.length === 0) return; // none of them is left
    for (const chip of chips) chip.checked = there.includes(chip);
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
    this.#remember({ analyzers: this.stream.analyzers });
    this.#tell("stream", { analyzers: this.stream.analyzers });
  }

  /** @param {object} chosen @param {string} [what]  the event that tells of it */
  #remember(chosen, what) {
    this.#known = { ...this.#known, ...chosen };
    keep(this.#kept, KEY, this.#known);
    if (what) this.#tell(what);
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
