/** The browser's cameras: which there are, which one runs, what it can do. */

/**
 * @typedef {{id: string, label: string}} Device
 * @typedef {{side: number, fps: number}} Wish  the longest side in px, pictures a second; the camera gives what is nearest
 * @typedef {"user" | "environment"} Facing
 */

/** Events: `over` when the camera is gone for good, with the name of an error in `detail`; `change` when its picture did. */
export class Camera extends EventTarget {
  /** @type {Device[]} */
  devices = [];
  /** @type {MediaStreamTrack | null} */
  #track = null;
  #video;
  /** @type {{device?: string, facing?: Facing}} */
  #chosen = { facing: "environment" };
  /** @type {Wish} */
  #wish = { side: 1280, fps: 15 };
  #turn = 0; // the last opening that was asked for; what an earlier one brings is closed

  /** @param {HTMLVideoElement} video  shows what it sees */
  constructor(video) {
    super();
    this.#video = video;
    globalThis.navigator?.mediaDevices?.addEventListener?.("devicechange", () => void this.list());
  }

  /** Whether this page may ask for a camera at all. */
  static get possible() {
    return Boolean(globalThis.navigator?.mediaDevices?.getUserMedia);
  }

  get open() {
    return this.#track?.readyState === "live";
  }

  /** What it gives, for those who send it as a video. */
  get track() {
    return this.#track;
  }

  /** The id of the camera that runs. */
  get device() {
    return this.#track?.getSettings().deviceId ?? null;
  }

  /** Which way it looks; null where the browser does not say, as for most laptops. @returns {Facing | null} */
  get facing() {
    const told = this.#track?.getSettings().facingMode;
    if (told === "user" || told === "environment") return told;
    return /\b(back|rear|environment)\b/i.test(this.#track?.label ?? "") ? "environment" : null;
  }

  /** What the camera can at most. @returns {Wish} */
  get limits() {
    const can = this.#track?.getCapabilities?.() ?? {};
    const side = Math.max(can.width?.max ?? 0, can.height?.max ?? 0);
    return { side: side || 1920, fps: Math.round(can.frameRate?.max ?? 0) || 30 };
  }

  /** The picture of now; null before the first. */
  shot() {
    const { videoWidth: width, videoHeight: height } = this.#video;
    return this.open && !this.#track?.muted && width ? { picture: this.#video, width, height } : null;
  }

  /** Open it, or another one. Rejects with a `DOMException` whose name tells why. @param {{device?: string, facing?: Facing}} [which] */
  async start(which = this.#chosen) {
    const turn = (this.#turn += 1);
    this.#chosen = which;
    this.#release(); // many phones open one camera at a time
    const stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...place(which), ...shape(this.#wish) } });
    const [track] = stream.getVideoTracks();
    if (turn !== this.#turn) return track.stop();
    this.#track = track;
    track.onended = () => this.#ended();
    this.#video.srcObject = stream;
    await this.#video.play().catch(() => {}); // a newer one took the element
    await this.list();
  }

  /** The next camera: the other side of a phone, or the next of the list. */
  async next() {
    const facing = this.facing;
    const others = this.devices.length > 2 || facing === null;
    const at = this.devices.findIndex(({ id }) => id === this.device);
    const next = this.devices[(at + 1) % Math.max(1, this.devices.length)];
    if (others && next) await this.start({ device: next.id });
    else await this.start({ facing: facing === "user" ? "environment" : "user" });
  }

  /** @param {Wish} wish */
  async change(wish) {
    this.#wish = wish;
    await this.#track?.applyConstraints(shape(wish)).catch(() => {}); // pictures are scaled down all the same
  }

  /** After a sleep: a camera that was taken away is asked for again. */
  async wake() {
    if (!this.#track) return;
    if (this.#track.readyState === "ended") await this.#again();
    else await this.#video.play().catch(() => {});
  }

  close() {
    this.#turn += 1;
    this.#release();
  }

  async list() {
    const found = await navigator.mediaDevices.enumerateDevices().catch(() => []);
    const cameras = found.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId);
    this.devices = cameras.map(({ deviceId, label }, n) => ({ id: deviceId, label: label || `Camera ${n + 1}` }));
    this.dispatchEvent(new CustomEvent("change"));
  }

  #release() {
    const track = this.#track;
    this.#track = null;
    this.#video.srcObject = null;
    if (!track) return;
    track.onended = null;
    track.stop();
  }

  /** Unplugged, taken by another program, or the phone took it back: once more, if anybody looks at the page. */
  #ended() {
    if (!document.hidden) void this.#again();
  }

  async #again() {
    try {
      await this.start();
    } catch (error) {
      this.dispatchEvent(new CustomEvent("over", { detail: error }));
    }
  }
}

/** @param {{device?: string, facing?: Facing}} which @returns {MediaTrackConstraints} */
function place({ device, facing }) {
  return device ? { deviceId: { exact: device } } : { facingMode: { ideal: facing ?? "environment" } };
}

/** @param {Wish} wish @returns {MediaTrackConstraints} */
function shape({ side, fps }) {
  return { width: { ideal: side }, height: { ideal: Math.round((side * 9) / 16) }, frameRate: { ideal: fps } };
}
