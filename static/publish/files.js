/** Files as the source: one video, or pictures one after the other. They stay in the browser; only pictures go out. */

/** @import { Shot } from "./feed.js" */

const HOLD_MS = 2000; // how long each of several pictures is shown

/** Events: `over` at the end (detail null) or when a file cannot be read (detail its name); `change` when its picture did. */
export class Files extends EventTarget {
  repeat = true;
  #video;
  #image;
  /** @type {File[]} */
  #pictures = [];
  #at = 0;
  #address = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #turn;
  /** @type {HTMLVideoElement | HTMLImageElement | null} */
  #shown = null;
  #name = "";

  /** @param {HTMLVideoElement} video @param {HTMLImageElement} image */
  constructor(video, image) {
    super();
    this.#video = video;
    this.#image = image;
    image.onload = () => this.#show(image);
    image.onerror = () => this.#shown === image && this.#fail();
    video.addEventListener("loadeddata", () => this.#address && this.#show(video));
    video.addEventListener("ended", () => this.#ended());
    video.addEventListener("error", () => this.#address && !this.#pictures.length && this.#fail());
  }

  get open() {
    return this.#address !== "";
  }

  /** @returns {Shot | null} */
  shot() {
    if (this.#shown instanceof HTMLImageElement) return sized(this.#shown, this.#shown.naturalWidth, this.#shown.naturalHeight);
    if (!this.#shown || this.#shown.paused) return null;
    return sized(this.#shown, this.#shown.videoWidth, this.#shown.videoHeight);
  }

  /** @param {File[]} files  the first video, or all the pictures */
  start(files) {
    this.close();
    const video = files.find(({ type }) => type.startsWith("video/"));
    this.#pictures = video ? [] : files;
    this.#at = 0;
    if (video) void this.#play(video);
    else this.#turnTo(0);
  }

  close() {
    clearTimeout(this.#turn);
    URL.revokeObjectURL(this.#address);
    this.#address = "";
    this.#shown = null;
    this.#video.removeAttribute("src");
    this.#image.removeAttribute("src");
    if (!this.#video.srcObject) this.#video.load();
  }

  /** @param {File} file */
  async #play(file) {
    this.#name = file.name;
    this.#address = URL.createObjectURL(file);
    this.#video.src = this.#address;
    this.#video.loop = false; // `ended` decides, with the choice of that moment
    await this.#video.play().catch(() => {}); // `error` tells more
  }

  /** @param {number} at */
  #turnTo(at) {
    this.#at = at;
    const file = this.#pictures[at];
    this.#name = file?.name ?? "";
    URL.revokeObjectURL(this.#address);
    this.#address = file ? URL.createObjectURL(file) : "";
    if (!file) return;
    this.#shown ??= this.#image;
    this.#image.src = this.#address;
    if (this.#pictures.length > 1 || !this.repeat) this.#turn = setTimeout(() => this.#ended(), HOLD_MS);
  }

  #ended() {
    if (!this.open) return;
    if (this.#pictures.length && this.#at + 1 < this.#pictures.length) this.#turnTo(this.#at + 1);
    else if (!this.repeat) this.#over(null);
    else if (this.#pictures.length) this.#turnTo(0);
    else void this.#video.play().catch(() => {});
  }

  /** @param {HTMLVideoElement | HTMLImageElement} element */
  #show(element) {
    this.#shown = element;
    this.dispatchEvent(new CustomEvent("change"));
  }

  #fail() {
    this.#over(this.#name);
  }

  /** @param {string | null} detail */
  #over(detail) {
    this.close();
    this.dispatchEvent(new CustomEvent("over", { detail }));
  }
}

/** @param {HTMLVideoElement | HTMLImageElement} picture @param {number} width @param {number} height @returns {Shot | null} */
const sized = (picture, width, height) => (width && height ? { picture, width, height } : null);
