/**
 * A viewer by WebRTC (WHEP): a video track, and the stream's messages on the data channel "results".
 *
 * Which picture of the video has which number: the gateway tells it for every picture it encodes, `{"type": "picture",
 * "seq", "rtp"}`, and the browser tells the RTP timestamp of every picture it shows.
 */

import { announce } from "./announce.js";
import { Peer, Unsupported } from "./peer.js";
import { Numbering } from "./numbering.js";
import { readMessage } from "./protocol.js";

/** @import { Runtime } from "./connection.js" */
/** @import { Desk, Stats } from "./peer.js" */
/** @import { Message } from "./protocol.js" */
/**
 * @typedef {{rtpTimestamp?: number, width: number, height: number, presentedFrames: number}} Shown  of
 *   `requestVideoFrameCallback`
 */

const CHANNEL = "results";
const TAKEN = ["h264", "vp8", "rtx"]; // what a gateway encodes, and repair

/**
 * Events: those of a `Watch`, without `subscribed`; `frame` for each picture that the element shows, with `picture` (the
 * element, to be drawn at once) in the place of `jpeg`, and `exact` (whether its number is known or guessed).
 */
export class WhepViewer extends Peer {
  /** Pictures the browser decoded. */
  decoded = 0;
  /** Pictures that were shown without a known number. */
  unknown = 0;
  #video;
  #numbering = new Numbering();
  #news = false; // whether the gateway told of pictures since the last look

  /** @param {Desk} desk @param {Runtime} runtime @param {{video: HTMLVideoElement}} options  the element plays the stream */
  constructor(desk, runtime, { video }) {
    super(desk, runtime);
    this.#video = video;
  }

  /** @param {RTCPeerConnection} line */
  _prepare(line) {
    if (!this.#video.requestVideoFrameCallback) throw new Unsupported(); // which of its pictures is shown is not to be known
    const transceiver = line.addTransceiver("video", { direction: "recvonly" });
    const codecs = this._runtime.codecs?.("receiver").filter(({ mimeType }) => TAKEN.includes(mimeType.slice(6).toLowerCase()));
    if (codecs?.length) transceiver.setCodecPreferences?.(codecs);
    const channel = line.createDataChannel(CHANNEL);
    channel.onmessage = ({ data }) => typeof data === "string" && this.#hear(data);
    channel.onclose = () => this._end("disconnected"); // the gateway hung up
    line.ontrack = ({ track }) => this.#play(track);
  }

  /** A stream without pictures is no stall; one of which only the messages come is. @param {Stats[]} stats */
  _moves(stats) {
    const { framesDecoded = 0 } = stats.find(({ type }) => type === "inbound-rtp") ?? { kind: "" };
    const moves = framesDecoded > this.decoded || !this.#news;
    this.decoded = framesDecoded;
    this.#news = false;
    return moves;
  }

  /** @param {string} data */
  #hear(data) {
    const message = readMessage(data);
    if (message === null || this.state === "ended") return;
    if (message.type === "picture") return this.#told(message);
    if (message.type === "result") this.#told({ seq: message.seq });
    announce(this, message);
  }

  /** @param {Partial<Message>} message */
  #told({ seq, rtp, captured_us }) {
    this.#news = true;
    this.#numbering.told(seq, rtp, captured_us);
  }

  /** @param {MediaStreamTrack} track */
  #play(track) {
    const video = this.#video;
    video.srcObject = new MediaStream([track]);
    video.play().catch(() => {}); // another one took the element
    const next = () => video.requestVideoFrameCallback((_, shown) => {
      if (this.state === "ended") return;
      next();
      this.#shown(shown);
    });
    next();
  }

  /** @param {Shown} shown */
  #shown({ rtpTimestamp, width, height }) {
    const known = this.#numbering.of(rtpTimestamp);
    if (known === null) return void (this.unknown += 1);
    const captured_at = known.captured_us == null ? null : new Date(known.captured_us / 1000);
    announce(this, { type: "frame", ...known, captured_at, picture: this.#video, width, height });
  }
}
