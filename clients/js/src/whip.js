/** A publisher by WebRTC (WHIP, RFC 9725): a camera's track goes to the gateway, encoded by the browser. */

import { Peer } from "./peer.js";

/** @import { Runtime } from "./connection.js" */
/** @import { Desk, Stats } from "./peer.js" */
/**
 * @typedef {{side?: number, fps?: number, bits_per_pixel?: number}} Shape
 *   the longest side in px, pictures a second, and what a pixel of one picture may cost
 * @typedef {{fps: number, kb_s: number, width: number, height: number, limited: string}} Outgoing
 *   `limited`: why the browser sends less than it could (`none`, `cpu`, `bandwidth`, `other`)
 */

const TAKEN = ["h264", "vp8", "rtx"]; // what a gateway decodes, and repair
const [LEAST_BPS, MOST_BPS] = [150_000, 8_000_000];

export class WhipPublisher extends Peer {
  /** Pictures sent. */
  sent = 0;
  /** Bytes sent. */
  bytes = 0;
  /** From the gateway and back. @type {number | null} */
  round_trip_ms = null;
  /** What goes out now; null before the first second. @type {Outgoing | null} */
  outgoing = null;
  /** Packets that were lost on their way. */
  packets_lost = 0;

  #track;
  #shape;
  #resume;
  /** @type {RTCRtpSender | null} */
  #sender = null;
  #shot = 0; // pictures that cameras gave
  /** Of them, by cameras before this one; null until the next look. @type {number | null} */
  #before = 0;

  /**
   * @param {Desk} desk @param {Runtime} runtime
   * @param {{track: MediaStreamTrack, shape?: Shape, resume?: string | null}} options  `resume`: as that of a `Publisher`
   */
  constructor(desk, runtime, { track, shape = {}, resume = null }) {
    super(desk, runtime);
    this.#resume = resume;
    this.#track = track;
    this.#shape = shape;
  }

  /** Takes the publisher's place over again, by either way. */
  get resume_token() {
    return this.id ?? this.#resume;
  }

  _opened() {
    void this.reshape(this.#shape);
  }

  /** Another camera, without a new connection. @param {MediaStreamTrack} track */
  async replaceTrack(track) {
    this.#track = track;
    this.#before = null;
    await this.#sender?.replaceTrack(track);
    await this.reshape(this.#shape);
  }

  /** Larger or smaller pictures from now on, more or fewer. @param {Shape} shape */
  async reshape(shape) {
    this.#shape = shape;
    const parameters = this.#sender?.getParameters();
    if (!parameters?.encodings?.length) return;
    Object.assign(parameters.encodings[0], encodingOf(this.#track, shape));
    Object.assign(parameters, { degradationPreference: "maintain-resolution" }); // fewer pictures tell more than smaller ones
    await this.#sender?.setParameters(parameters).catch(() => {}); // not between an offer and its answer
  }

  /** @returns {Record<string, string>} */
  _headers() {
    return this.#resume ? { "X-Resume-Token": this.#resume } : {};
  }

  /** @param {RTCPeerConnection} line */
  _prepare(line) {
    const sendEncodings = [encodingOf(this.#track, this.#shape)];
    const transceiver = line.addTransceiver(this.#track, { direction: "sendonly", sendEncodings });
    this.#sender = transceiver.sender;
    const codecs = this._runtime.codecs?.("sender").filter(({ mimeType }) => TAKEN.includes(mimeType.slice(6).toLowerCase()));
    if (codecs?.length) transceiver.setCodecPreferences?.(codecs);
  }

  /**
   * A camera that rests (a phone in a pocket) is no stall; one whose pictures do not go out is, and so is one of which
   * WebRTC sees nothing from the beginning: not every camera's format becomes video.
   *
   * @param {Stats[]} stats
   */
  _moves(stats) {
    const { framesSent = 0, bytesSent = 0, ...out } = stats.find(({ type }) => type === "outbound-rtp") ?? { kind: "" };
    const source = stats.find(({ type }) => type === "media-source"); // not every browser tells
    const frames = source?.frames ?? 0;
    const told = stats.find(({ type }) => type === "remote-inbound-rtp");
    const way = stats.find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
    this.#before = Math.min(this.#before ?? frames, frames);
    const began = frames > this.#before;
    const rests = !source || this.#track.muted || this.#track.readyState !== "live" || (began && frames <= this.#shot);
    const moves = (began && framesSent > this.sent) || rests;
    const kb_s = (bytesSent - this.bytes) / 1000;
    this.outgoing = {
      fps: out.framesPerSecond ?? 0, kb_s, width: out.frameWidth ?? 0, height: out.frameHeight ?? 0, limited: out.qualityLimitationReason ?? "none",
    };
    [this.sent, this.bytes, this.#shot] = [framesSent, bytesSent, frames];
    this.packets_lost = told?.packetsLost ?? 0;
    const rtt_s = way?.currentRoundTripTime ?? told?.roundTripTime;
    this.round_trip_ms = rtt_s === undefined ? null : rtt_s * 1000;
    return moves;
  }
}

/** @param {MediaStreamTrack} track @param {Shape} shape @returns {RTCRtpEncodingParameters} */
function encodingOf(track, { side = Infinity, fps = 30, bits_per_pixel = 0.1 }) {
  const { width = 1280, height = 720 } = track.getSettings();
  const scale = Math.max(1, Math.max(width, height) / side);
  const bps = ((width * height) / scale ** 2) * fps * bits_per_pixel;
  const maxBitrate = Math.round(Math.min(MOST_BPS, Math.max(LEAST_BPS, bps)));
  return { maxBitrate, maxFramerate: fps, scaleResolutionDownBy: scale };
}
