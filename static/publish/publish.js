/** The camera page: picture from here, stream there, and how both are. The parts are in the files it imports. */

import { Framegate } from "../client/framegate.js";
import { memory } from "../viewer/memory.js";
import { $, AnalyzerTable, EventList, ms, showNumbers } from "../viewer/panels.js";
import { TransportChoice, wordsOfWhy } from "../viewer/transport.js";
import { Awake } from "./awake.js";
import { Camera } from "./camera.js";
import { Choices } from "./choices.js";
import { Encoder } from "./encoder.js";
import { Feed } from "./feed.js";
import { Files } from "./files.js";
import { Preview } from "./preview.js";
import { Share } from "./share.js";
import { Station } from "./station.js";
import { wordsOfCamera, wordsOfEnd, wordsOfInsecurity, wordsOfWait } from "./words.js";

/** @import { TrackPublisher } from "../../clients/js/src/framegate.js" */
/** @import { Kept } from "./station.js" */
/** @import { Words } from "./words.js" */

const REDRAW_MS = 250;
const OFFER_MS = 2000; // how long a start waits for the list of analyzers

const gateway = new Framegate(new URL("..", import.meta.url));
const stream_id = new URLSearchParams(location.search).get("stream_id");
const station = new Station(gateway, { memory: memory("sessionStorage"), stream_id, publish });
const transport = new TransportChoice();
const camera = new Camera($("preview"));
const files = new Files($("preview"), $("still"));
const choices = new Choices();
const preview = new Preview();
const analyzers = new AnalyzerTable();
const events = new EventList();
const share = new Share(gateway.url("publish/qr"), () => gateway.headers);
const awake = new Awake(showState);
const encoder = new Encoder(() => void feed.tick());
const feed = new Feed(encoder);
feed.shoot = () => source().shot();

/** What keeps the source from running. @type {Words | null} */
let trouble = null;
let opening = false;
/** @type {Record<string, any>} */
let status = {};
/** Who sends, or sent last: its counts stay on the page. @type {TrackPublisher | null} */
let sender = null;

const source = () => (choices.source === "camera" ? camera : files);

// --- starting and stopping -------------------------------------------------------------------------------------------

async function start() {
  if (!(await openSource())) return;
  encoder.pace(choices.wish.fps);
  awake.keep();
  await Promise.race([offered, new Promise((resolve) => setTimeout(resolve, OFFER_MS))]);
  await station.start(choices.stream);
}

/** A camera goes by the way that was chosen, files picture by picture. @param {Kept} stream @param {{resume?: string}} options */
function publish(stream, options) {
  return gateway.publishTrack(stream, { ...options, track: camera.track, transport: wayNow(), shape: shapeNow() });
}

const wayNow = () => (choices.source === "camera" ? transport.wish : "websocket");

/** What a pixel of video may cost grows with the quality as that of a JPEG does. */
const shapeNow = () => ({ ...choices.wish, bits_per_pixel: { 0.6: 0.05, 0.8: 0.1, 0.92: 0.2 }[choices.quality] ?? 0.1 });

/** Another way, camera or size, for what goes out. */
async function reroute() {
  if (camera.track) await sender?.replaceTrack(camera.track);
  await sender?.reshape(shapeNow());
  if (sender?.transport !== wayNow() && sender?.why === null) sender.use(wayNow());
  transport.show(sender);
}

function stop() {
  station.stop();
  encoder.pace(0);
  awake.release();
  feed.publisher = null;
  preview.clear();
}

/** Whether there is something to send. */
async function openSource() {
  trouble = null;
  if (source().open) return true;
  if (choices.source === "file") {
    if (choices.files.length) files.start(choices.files);
    else $("files").click();
    return choices.files.length > 0;
  }
  return openCamera(startCamera);
}

/** The chosen one; another one if that is not connected now. */
async function startCamera() {
  const missing = choices.camera && (await camera.start({ device: choices.camera }).then(() => false, ({ name }) => name === "OverconstrainedError" || Promise.reject()));
  if (choices.camera && !missing) return;
  choices.camera = "";
  await camera.start({ facing: "environment" });
}

/** @param {() => Promise<void>} open */
async function openCamera(open) {
  if (!Camera.possible) return fail(wordsOfInsecurity(location.host));
  opening = true;
  trouble = null;
  showState();
  await camera.change(choices.wish);
  const error = await open().then(() => null, (/** @type {unknown} */ reason) => reason ?? new Error("no camera"));
  opening = false;
  if (error) return fail(wordsOfCamera(error));
  choices.mirror = camera.facing !== "environment";
  preview.use("video");
  void reroute();
  showState();
  return true;
}

/** The source does not run: say so, and leave the stream alone. @param {Words} words */
function fail(words) {
  stop();
  camera.close();
  trouble = words;
  showState();
  return false;
}

function changeSource() {
  trouble = null;
  camera.close();
  files.close();
  preview.fit(null);
  if (!station.running) return showState();
  if (choices.source === "file" && !choices.files.length) stop();
  else void openSource().then(reroute);
  showState();
}

function takeFiles() {
  if (!choices.files.length) return;
  trouble = null;
  preview.use(choices.files.some(({ type }) => type.startsWith("video/")) ? "video" : "image");
  files.start(choices.files);
  showState();
}

/** @param {string | null} name  of a file that cannot be read; null: it is over */
function filesOver(name) {
  if (name !== null) return fail({ title: "The browser cannot show this file", help: name, remedies: ["file"] });
  stop();
  trouble = { title: "The file is over", help: "Start sends it again." };
  showState();
}

// --- what the gateway says -------------------------------------------------------------------------------------------

/** @param {TrackPublisher} publisher */
function listen(publisher) {
  feed.publisher = sender = publisher;
  status = {};
  /** @param {string} type @param {(detail: any) => void} react */
  const on = (type, react) =>
    publisher.addEventListener(type, (event) => publisher === feed.publisher && react(/** @type {CustomEvent} */ (event).detail));
  on("hello", (hello) => analyzers.states(hello.analyzers));
  on("status", takeStatus);
  on("transport", () => transport.show(publisher));
  on("event", (event) => events.update(event, (path) => gateway.url(path)));
  on("result", (result) => {
    for (const [name, seen] of Object.entries(result.analyzers)) analyzers.update(name, seen);
    preview.result(result.analyzers);
  });
}

/** @param {any} message */
function takeStatus(message) {
  status = message;
  const names = (message.analyzers ?? []).map((/** @type {{name: string}} */ { name }) => name);
  analyzers.keep(names);
  analyzers.states(message.analyzers);
  preview.zones = message.zones ?? [];
}

const offered = fetch(gateway.url("api/analyzers"), { headers: gateway.headers })
  .then(async (answer) => answer.ok && choices.offerAnalyzers((await answer.json()).items))
  .catch(() => {}); // the gateway's usual set it is

/** @param {Event} event */
async function changeStream(event) {
  const { detail } = /** @type {CustomEvent} */ (event);
  await station.change(detail).catch((error) => station.running && choices.say(`The gateway refused: ${error.message}`));
}

// --- how it is -------------------------------------------------------------------------------------------------------

/** @type {Record<string, string>} */
const NAMES = { idle: "Not sending", asking: "Opening a stream", full: "Waiting", connecting: "Connecting", open: "Live", waiting: "Reconnecting", ended: "Ended" };
/** @type {Record<string, string>} */
const MOODS = { asking: "connecting", full: "waiting" };

function showState() {
  const { state, reason } = station;
  $("connection").dataset.state = trouble ? "ended" : MOODS[state] ?? state;
  $("connection").textContent = opening ? "Asking for the camera" : trouble ? "Not sending" : state === "connecting" && reason ? NAMES.waiting : NAMES[state];
  document.body.dataset.running = station.running ? "yes" : "no";
  $("main-text").textContent = station.running ? "Stop" : "Start";
  $("frame").toggleAttribute("data-stale", ["waiting", "full"].includes(state) || (state === "connecting" && reason !== null));
  $("flip").hidden = choices.source !== "camera";
  $("flip").disabled = !camera.open || camera.devices.length < 2;
  $("end").hidden = !station.stream;
  if (state === "ended") encoder.pace(0), awake.release();
  if (state === "idle" && !station.stream) share.show(null);
  if (station.stream && state === "open") share.show(gateway.url(station.stream.viewer_url));
  preview.mirrored = choices.mirror && choices.source === "camera";
  showWords();
}

function showWords() {
  const { state, reason } = station;
  preview.say(trouble ?? wordsNow(state, reason));
  preview.note(state === "open" && !trouble ? noteNow() : "");
}

/** @param {string} state @param {string | null} reason @returns {Words | null} */
function wordsNow(state, reason) {
  if (opening) return { title: "Asking for the camera", help: "The browser may ask whether this page may use it." };
  if (state === "ended") return wordsOfEnd(reason);
  if (state === "full" || state === "waiting") return { title: wordsOfWait(reason), help: `Trying again in ${secondsLeft()} s`, remedies: ["retry"] };
  if (state === "connecting" && reason) return { title: wordsOfWait(reason), help: "Connecting again" };
  if (state === "asking") return { title: "Opening a stream" };
  if (station.running) return source().open ? null : { title: "Waiting for the picture" };
  if (source().open) return null;
  if (choices.source === "file") return { title: "Choose a video or pictures", help: "They stay on this device; only the pictures go out.", remedies: ["file"] };
  return Camera.possible ? { title: "Use this device as a camera", help: "Press Start. The browser asks before it gives the camera." } : wordsOfInsecurity(location.host);
}

function noteNow() {
  if (station.replaced) return "The stream was lost; this is a new one with a new link";
  if (sender?.why && wayNow() === "webrtc") return `By WebSocket: ${wordsOfWhy(sender.why)}`;
  return awake.held || !matchMedia("(pointer: coarse)").matches ? "" : "The screen may turn off: touch it now and then";
}

const secondsLeft = () => Math.max(0, Math.ceil(((station.retry_at ?? 0) - performance.now()) / 1000));

function redraw() {
  const shot = source().shot();
  if (shot || !source().open) preview.fit(shot);
  if (document.hidden) return;
  preview.draw();
  analyzers.draw();
  if (station.retry_at !== null) showWords();
  showNumbers(sender ? numbers(sender) : []);
}

/** @param {TrackPublisher} sender @returns {[string, string, string?][]} */
function numbers(sender) {
  const both = sender.transport === "webrtc" ? numbersOfVideo(sender) : numbersOfPictures(sender);
  return [...both, ["viewers", String(status.viewers ?? "–")]];
}

/** @param {TrackPublisher} sender @returns {[string, string, string?][]} */
function numbersOfVideo({ sent, whip, round_trip_ms }) {
  const { fps, kb_s, width, height, limited } = whip?.outgoing ?? { fps: 0, kb_s: 0, width: 0, height: 0, limited: "none" };
  return [
    ["by WebRTC", fpsOf(fps), `${sent} pictures as video; the gateway takes what it has use for`],
    ["rate", perSecond(kb_s)],
    ["picture", width ? `${width} × ${height}` : "–", limited === "none" ? "as chosen" : `less than chosen: ${limited}`],
    ["lost", String(whip?.packets_lost ?? 0), "packets lost on the way"],
    ["answer", ms(round_trip_ms), "to the gateway and back"],
  ];
}

/** @param {number} fps */
const fpsOf = (fps) => `${fps.toFixed(fps < 9.95 ? 1 : 0)} fps`;

/** @param {number} kb_s */
const perSecond = (kb_s) => (kb_s >= 1000 ? `${(kb_s / 1000).toFixed(1)} MB/s` : `${Math.round(kb_s)} KB/s`);

/** @param {TrackPublisher} sender @returns {[string, string, string?][]} */
function numbersOfPictures({ sent, acked, lost, on_the_way, dropped, round_trip_ms }) {
  const { fps, kb_s, kb } = feed.rates();
  const reasons = Object.entries({ ...dropped, encoding: feed.busy, unreadable: feed.failed, line: lost }).filter(([, count]) => count);
  const size = feed.size ? `${feed.size.width} × ${feed.size.height}` : "–";
  return [
    ["by WebSocket", fpsOf(fps), `${sent} pictures: ${acked} taken, ${lost} lost, ${on_the_way} on the way`],
    ["rate", perSecond(kb_s)],
    ["picture", size, `${Math.round(kb)} KB each`],
    ["dropped", String(reasons.reduce((sum, [, count]) => sum + count, 0)), reasons.map(([reason, count]) => `${reason}: ${count}`).join(", ") || "nothing"],
    ["answer", ms(round_trip_ms), "from the sending of a picture until the gateway has it"],
  ];
}

// --- the page --------------------------------------------------------------------------------------------------------

function wake() {
  if (document.hidden) return;
  station.wake();
  if (choices.source === "camera") void camera.wake();
}

$("main").onclick = () => (station.running ? stop() : void start());
$("retry").onclick = () => (station.running ? station.wake() : void start());
$("renew").onclick = () => (location.search ? location.assign(location.pathname) : void station.end().then(start));
$("pick").onclick = () => {
  choices.source = "file";
  $("files").click();
};
$("end").onclick = () => {
  stop();
  void station.end();
};
$("flip").onclick = () => void openCamera(() => camera.next()).then(() => camera.device && (choices.camera = camera.device));
$("gear").onclick = () => {
  $("settings").open = true;
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
  $("settings").scrollIntoView({ behavior, block: "start" });
  $("settings").querySelector("summary").focus({ preventScroll: true });
};
addEventListener("keydown", (event) => {
  const plain = event.target === document.body && !event.ctrlKey && !event.metaKey && !event.altKey;
  if (event.code === "Space" && plain) event.preventDefault(), $("main").click();
});
station.addEventListener("state", showState);
station.addEventListener("publisher", (event) => listen(/** @type {CustomEvent} */ (event).detail));
camera.addEventListener("over", (event) => fail(wordsOfCamera(/** @type {CustomEvent} */ (event).detail)));
camera.addEventListener("change", () => {
  choices.offerCameras(camera.devices, camera.device);
  if (camera.open) choices.offerSizes(camera.limits);
  showState();
});
files.addEventListener("over", (event) => filesOver(/** @type {CustomEvent} */ (event).detail));
choices.addEventListener("source", changeSource);
choices.addEventListener("files", takeFiles);
choices.addEventListener("camera", () => camera.open && void openCamera(() => camera.start({ device: choices.camera })));
choices.addEventListener("picture", () => {
  applyPicture();
  if (camera.open) void camera.change(choices.wish).then(reroute);
});
transport.addEventListener("change", () => {
  if (station.running) sender?.use(wayNow());
  transport.show(sender);
});
choices.addEventListener("stream", changeStream);
document.addEventListener("visibilitychange", wake);
document.addEventListener("resume", wake);
addEventListener("online", wake);
addEventListener("pagehide", () => feed.publisher?.close()); // leave = gone, for streams without a grace period
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

function applyPicture() {
  feed.wish = { side: choices.wish.side, quality: choices.quality };
  files.repeat = choices.repeat;
  if (station.running) encoder.pace(choices.wish.fps);
  preview.mirrored = choices.mirror && choices.source === "camera";
}

$("settings").open = matchMedia("(min-width: 901px)").matches;
setInterval(redraw, REDRAW_MS);
analyzers.clear();
applyPicture();
showState();
$("main").disabled = false; // until here a press would have been lost
if (Camera.possible) void camera.list();
