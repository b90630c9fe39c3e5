/** The panels beside the picture: analyzers, events, numbers, raw messages. Text only ever goes through textContent. */

import { captionOf } from "./boxes.js";

/** @import { AnalyzerResult, AnalyzerState, Detection, Message, StreamEvent } from "../../clients/js/src/protocol.js" */

const EVENTS_KEPT = 100;
const MESSAGES_KEPT = 40;
const NAMES_SHOWN = 3;

/** An element of the page that is there. @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/** @param {string} tag @param {string} [text] @param {string} [name] @returns {any} */
export function make(tag, text = "", name = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = name;
  return element;
}

/** @param {number | undefined | null} ms */
export const ms = (ms) => (typeof ms !== "number" ? "–" : ms < 10_000 ? `${Math.round(ms)} ms` : `${Math.round(ms / 1000)} s`);

/** What each analyzer last saw, one row each. */
export class AnalyzerTable {
  #body = $("analyzers").tBodies[0];
  /** @type {Map<string, AnalyzerResult>} */
  #latest = new Map();

  /** @param {string} name @param {AnalyzerResult} result  without detections, only its state is news */
  update(name, result) {
    this.#latest.set(name, { ...(result.detections ? {} : this.#latest.get(name)), ...result });
  }

  /** @param {AnalyzerState[]} analyzers */
  states(analyzers = []) {
    for (const { name, state, reason } of analyzers) {
      this.#latest.set(name, { ...this.#latest.get(name), state: /** @type {any} */ (state), reason });
    }
  }

  /** Forget the others: they left the stream. @param {string[]} names */
  keep(names) {
    for (const name of this.#latest.keys()) if (!names.includes(name)) this.#latest.delete(name);
  }

  clear() {
    this.#latest.clear();
    this.draw();
  }

  draw() {
    $("analyzers-empty").hidden = this.#latest.size > 0;
    $("analyzers").hidden = this.#latest.size === 0;
    this.#body.replaceChildren(...[...this.#latest].map(([name, result]) => row(name, result)));
  }
}

/** @param {string} name @param {AnalyzerResult} result */
function row(name, { state, reason, latency_ms, age_ms, detections, measures = {} }) {
  const line = make("tr");
  const head = make("th", name);
  head.scope = "row";
  const badge = make("span", state, "badge");
  badge.dataset.state = state;
  if (reason) badge.title = reason;
  const numbers = Object.entries(measures).map(([key, value]) => `${key} ${Math.round(value * 100) / 100}`);
  line.append(head, cell("State", badge), cell("Latency", ms(latency_ms), "number"), cell("Age", ms(age_ms), "number"));
  line.append(cell("Sees", state === "failed" && reason ? reason : summary(detections)), cell("Measures", numbers.join(", ") || "–"));
  return line;
}

/** @param {string} title  shown beside it on a phone @param {string | Node} content @param {string} [name] */
function cell(title, content, name) {
  const element = make("td", "", name);
  element.dataset.title = title;
  element.toggleAttribute("data-none", content === "–");
  element.append(content);
  return element;
}

/** One by one while they are few, else counted by label. @param {Detection[] | undefined} detections */
function summary(detections) {
  if (!detections) return "–";
  if (detections.length <= NAMES_SHOWN) return detections.map(captionOf).join(", ") || "nothing";
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const { label } of detections) counts.set(label, (counts.get(label) ?? 0) + 1);
  return [...counts].map(([label, count]) => `${count} × ${label}`).join(", ");
}

/** Events by id, newest first: new, update and end are one line. */
export class EventList {
  #list = $("events");
  /** @type {Map<string, HTMLElement>} */
  #lines = new Map();

  /** @param {StreamEvent} event @param {(path: string) => URL} url */
  update(event, url) {
    const line = eventLine(event, url);
    const known = this.#lines.get(event.id);
    if (known) known.replaceWith(line);
    else this.#list.prepend(line);
    this.#lines.set(event.id, line);
    if (!known && event.severity !== "info") $("announce").textContent = `${event.severity}: ${titleOf(event)}`;
    if (this.#lines.size > EVENTS_KEPT) this.#forgetOldest();
    this.#count();
  }

  clear() {
    this.#lines.clear();
    this.#list.replaceChildren();
    this.#count();
  }

  #forgetOldest() {
    const [id, line] = [...this.#lines][0];
    line.remove();
    this.#lines.delete(id);
  }

  #count() {
    $("events-count").textContent = this.#lines.size ? String(this.#lines.size) : "";
    $("events-empty").hidden = this.#lines.size > 0;
  }
}

/** @param {StreamEvent} event @param {(path: string) => URL} url */
function eventLine(event, url) {
  const line = make("li");
  line.dataset.severity = event.severity;
  line.dataset.phase = event.ended_at ? "end" : event.phase; // its clip is told after its end
  line.dataset.id = event.id;
  const began = new Date(event.started_at);
  const time = make("time", began.toLocaleTimeString());
  time.dateTime = event.started_at;
  const length = event.ended_at ? `${Math.max(0, (Date.parse(event.ended_at) - began.getTime()) / 1000).toFixed(1)} s` : "going on";
  const severity = event.severity === "info" ? [] : [event.severity];
  const facts = make("span", "", "facts");
  const words = [...severity, `score ${event.score.toFixed(2)}`, length, ...event.zones.map((zone) => `in ${zone}`)];
  facts.append(...words.flatMap((fact) => [make("span", fact), " "]));
  line.append(make("strong", titleOf(event)), time, facts);
  const files = { Snapshot: event.snapshot_url, Clip: event.clip_url };
  for (const [word, path] of Object.entries(files)) {
    const place = path && url(path);
    if (place && /^https?:$/.test(place.protocol)) line.append(linkTo(place.href, word), " ");
  }
  return line;
}

/** @param {string} href @param {string} word */
function linkTo(href, word) {
  const link = make("a", word);
  link.href = href;
  link.target = "_blank";
  link.rel = "noopener";
  return link;
}

/** @param {StreamEvent} event */
function titleOf({ event_type, label }) {
  const words = event_type.replaceAll("_", " ");
  return label && label !== event_type ? `${words}: ${label}` : words;
}

/** The last messages as they came. */
export class MessagePanel {
  /** @type {string[]} */
  #lines = [];
  #paused = false;

  constructor() {
    $("json-pause").onclick = () => this.#pause();
    $("json-copy").onclick = () => this.#copy();
  }

  /** @param {Message} message */
  add(message) {
    if (this.#paused) return;
    this.#lines.unshift(JSON.stringify(message));
    this.#lines.length = Math.min(this.#lines.length, MESSAGES_KEPT);
  }

  clear() {
    this.#lines = [];
    this.draw();
  }

  draw() {
    if ($("json").open && !this.#paused) $("json-text").textContent = this.#lines.join("\n");
  }

  #pause() {
    this.#paused = !this.#paused;
    $("json-pause").setAttribute("aria-pressed", String(this.#paused));
  }

  async #copy() {
    const done = await navigator.clipboard?.writeText(this.#lines.join("\n")).then(() => true, () => false);
    $("json-note").textContent = done ? "Copied" : "The browser refused; select the text instead";
    setTimeout(() => ($("json-note").textContent = ""), 2000);
  }
}

/** Name and value pairs under the picture. @param {[string, string, string?][]} pairs  the third is a hint */
export function showNumbers(pairs) {
  const items = pairs.map(([name, value, hint]) => {
    const item = make("div");
    if (hint) item.title = hint;
    item.append(make("dt", name), make("dd", value));
    return item;
  });
  $("numbers").replaceChildren(...items);
}
