/** The viewer page: choose a stream, watch it, know how it is. The parts are in the files it imports. */

import { Framegate } from "../client/framegate.js";
import { Overlay } from "./overlay.js";
import { Pairing } from "./pairing.js";
import { $, AnalyzerTable, EventList, MessagePanel, ms, showNumbers } from "./panels.js";
import { StreamList } from "./streams.js";
import { TransportChoice } from "./transport.js";

const LIST_MS = 3000;
const REDRAW_MS = 250; // tables and numbers: as often as an eye can follow
const RATE_MS = 2000;

const gateway = new Framegate(new URL("..", import.meta.url));
const overlay = new Overlay($("picture"));
const pairing = new Pairing();
const analyzers = new AnalyzerTable();
const events = new EventList();
const messages = new MessagePanel();
const streams = new StreamList(gateway, watch);
const transport = new TransportChoice();

/** @import { VideoWatch } from "../../clients/js/src/framegate.js" */
/** @import { Pair } from "./pairing.js" */

/** @type {VideoWatch | null} */
let viewer = null;
let painting = false;
let pictures = 0; // that came
/** @type {number[]} when each picture was shown, over the last seconds */
let shownAt = [];
/** @type {Record<string, any>} */
let status = {};
/** @type {Pair | null} */
let pair = null;
let retryAt = 0;

// --- choosing a stream -----------------------------------------------------------------------------------------------

async function listStreams() {
  if (viewer && viewer.state !== "ended") return;
  const found = await streams.refresh();
  if (!viewer) notice(found);
  else if (viewer.state !== "ended") streams.clear(); // a stream was chosen meanwhile
}

/** @param {string} id */
function watch(id) {
  forget();
  $("stream-id").value = id;
  $("stop").hidden = false;
  document.title = `${id} · Framegate`;
  history.replaceState(null, "", `?stream_id=${encodeURIComponent(id)}`);
  viewer = gateway.watchVideo(id, { video: $("video"), transport: transport.wish });
  listen(viewer);
  showState();
}

function stop() {
  forget();
  $("stop").hidden = true;
  document.title = "Viewer · Framegate";
  history.replaceState(null, "", location.pathname);
  showState();
  notice("Looking for live streams");
  void listStreams();
}

/** Nothing of the last stream stays on the page. */
function forget() {
  const last = viewer;
  viewer = null;
  last?.close();
  for (const part of [overlay, analyzers, events, messages]) part.clear();
  transport.show(null);
  pairing.reset();
  [status, shownAt, pictures, pair] = [{}, [], 0, null];
  overlay.zones = [];
  $("frame").dataset.empty = "";
  streams.clear();
}

// --- what comes in ---------------------------------------------------------------------------------------------------

/** @param {VideoWatch} source */
function listen(source) {
  /** @param {string} type @param {(detail: any) => void} react */
  const on = (type, react) =>
    source.addEventListener(type, (event) => source === viewer && react(/** @type {CustomEvent} */ (event).detail));
  on("state", showState);
  on("transport", () => transport.show(viewer));
  on("any", (message) => message.type !== "frame" && messages.add(message));
  on("hello", (hello) => analyzers.states(hello.analyzers));
  on("status", takeStatus);
  on("event", (event) => events.update(event, (path) => gateway.url(path)));
  on("result", takeResult);
  on("frame", takePicture);
}

/** @param {any} message */
function takeStatus(message) {
  status = message;
  analyzers.states(message.analyzers);
  overlay.zones = message.zones ?? overlay.zones;
  showState();
}

/** @param {any} message */
function takeResult(message) {
  status.dropped = message.dropped ?? status.dropped;
  for (const [name, result] of Object.entries(message.analyzers)) analyzers.update(name, result);
  pairing.result(message, performance.now());
  void paint();
}

/** @param {any} frame  a video shows its picture only now, so it is copied at once */
async function takePicture(frame) {
  pictures += 1;
  const [source, at] = [viewer, performance.now()];
  const bitmap = frame.picture && (await createImageBitmap(frame.picture).catch(() => null));
  if (bitmap === null) return;
  if (source !== viewer) return bitmap?.close();
  pairing.picture({ seq: frame.seq, jpeg: frame.jpeg, bitmap }, at);
  void paint();
}

/** One picture is decoded at a time; those that come meanwhile are passed over. */
async function paint() {
  if (painting || document.hidden) return;
  painting = true;
  for (let next; (next = pairing.next(performance.now())); ) {
    const source = viewer;
    const decoded = await overlay.show(next).then(() => true, () => false);
    if (source !== viewer) overlay.clear();
    else if (decoded) shown(next);
  }
  painting = false;
}

/** @param {Pair} next */
function shown(next) {
  pair = next;
  shownAt.push(performance.now());
  if ("empty" in $("frame").dataset) delete $("frame").dataset.empty;
  if (shownAt.length === 1) showState();
}

// --- how it is -------------------------------------------------------------------------------------------------------

/** @type {Record<string, string>} */
const REASONS = {
  not_found: "there is no such stream",
  second_publisher: "another publisher took over",
  unauthenticated: "you are not signed in",
  forbidden: "you may not watch it",
  shutdown: "the gateway restarts",
  deleted: "somebody ended it",
};

/** @param {string | null} reason */
const words = (reason) => REASONS[reason ?? ""] ?? (reason ?? "").replaceAll("_", " ");

function showState() {
  const { state, reason, retry_ms } = viewer ?? { state: "idle", reason: null, retry_ms: null };
  retryAt = retry_ms === null ? 0 : performance.now() + retry_ms;
  const mood = moodOf(state);
  $("connection").dataset.state = document.body.dataset.mood = mood;
  $("connection").textContent = mood === "connecting" && reason ? MOODS.waiting : MOODS[mood];
  $("retry").hidden = state !== "waiting";
  $("frame").toggleAttribute("data-stale", state === "waiting" || state === "ended");
  if (state === "connecting" && !reason) notice("Connecting");
  else if (state === "waiting") countDown();
  else if (state === "ended") notice(`The stream is over: ${words(reason)}`);
  else if (state === "open") notice(pair ? "" : mood === "quiet" ? "Nobody is publishing" : "Waiting for the first picture");
  if (state === "ended") void listStreams();
}

/** @type {Record<string, string>} what the connection is called, by connection state; an open one may be quiet or stale */
const MOODS = {
  idle: "Not connected",
  connecting: "Connecting",
  open: "Live",
  quiet: "No publisher",
  stale: "No new pictures",
  waiting: "Reconnecting",
  ended: "Ended",
};

/** @param {string} state */
function moodOf(state) {
  if (state !== "open") return state;
  if (status.publishers === 0) return "quiet";
  return status.state === "stale" ? "stale" : "open";
}

function countDown() {
  const left = Math.max(0, Math.ceil((retryAt - performance.now()) / 1000));
  notice(`Connection lost: ${words(viewer?.reason ?? null)}. Trying again in ${left} s`);
}

/** @param {string} text */
function notice(text) {
  $("notice").hidden = text === "";
  if ($("notice-text").textContent !== text) $("notice-text").textContent = text;
}

function redraw() {
  if (document.hidden) return;
  analyzers.draw();
  messages.draw();
  if (viewer?.state === "waiting") countDown();
  const now = performance.now();
  shownAt = shownAt.filter((at) => now - at < RATE_MS);
  showNumbers(viewer ? numbers() : []);
}

/** @returns {[string, string, string?][]} */
function numbers() {
  const dropped = droppedBy(status.dropped ?? {});
  const total = dropped.reduce((sum, [, count]) => sum + count, 0);
  return [
    [`by ${viewer?.transport === "webrtc" ? "WebRTC" : "WebSocket"}`, rate(shownAt.length / (RATE_MS / 1000)), `${pictures} pictures came`],
    ["in", rate(status.fps_in)],
    ["analyzed", rate(status.fps_analyzed)],
    ["boxes", !pair || pair.age_ms === null ? "none" : pair.age_ms > 0 ? `${ms(pair.age_ms)} old` : "in step"],
    ["dropped", String(total), dropped.map(([reason, count]) => `${reason}: ${count}`).join(", ") || "nothing"],
    ["viewers", String(status.viewers ?? "–")],
  ];
}

/** @param {Record<string, Record<string, number>>} stages @returns {[string, number][]} */
function droppedBy(stages) {
  return Object.entries(stages).flatMap(([stage, reasons]) =>
    Object.entries(reasons).map(/** @returns {[string, number]} */ ([reason, count]) => [`${stage} ${reason.replaceAll("_", " ")}`, count]));
}

/** @param {number | undefined} fps */
const rate = (fps) => (fps === undefined ? "–" : `${fps.toFixed(fps < 9.95 ? 1 : 0)} fps`);

// --- the page --------------------------------------------------------------------------------------------------------

$("choose").onsubmit = (/** @type {Event} */ event) => {
  event.preventDefault();
  const id = $("stream-id").value.trim();
  if (id) watch(id);
};
$("stop").onclick = stop;
$("retry").onclick = () => viewer?.retryNow();
$("mode").onchange = (/** @type {any} */ { target }) => (pairing.mode = target.value);
$("full").onclick = () => (document.fullscreenElement ? document.exitFullscreen() : $("frame").requestFullscreen());
$("full").hidden = !document.fullscreenEnabled;
transport.addEventListener("change", () => {
  viewer?.use(transport.wish);
  transport.show(viewer);
});
addEventListener("online", () => viewer?.retryNow());
addEventListener("pagehide", () => viewer?.close()); // leave = gone, for streams without a grace period
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

setInterval(redraw, REDRAW_MS);
setInterval(listStreams, LIST_MS);
analyzers.clear();
showState();

const asked = new URLSearchParams(location.search).get("stream_id");
if (asked) watch(asked);
else void listStreams();
