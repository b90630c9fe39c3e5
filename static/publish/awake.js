/** Keeps the screen on while pictures go out. The browser takes its lock back whenever the page is hidden. */

export class Awake {
  /** Whether the screen stays on. */
  held = false;
  #wanted = false;
  /** @type {WakeLockSentinel | null} */
  #lock = null;

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
    document.addEventListener("visibilitychange", () => void this.#take());
  }

  keep() {
    this.#wanted = true;
    void this.#take();
  }

  release() {
    this.#wanted = false;
    void this.#lock?.release();
  }

  async #take() {
    if (!this.#wanted || this.#lock || document.hidden || !("wakeLock" in navigator)) return;
    try {
      this.#lock = await navigator.wakeLock.request("screen");
    } catch {
      return; // low battery, or the browser's own will
    }
    this.#lock.addEventListener("release", () => this.#released());
    this.#told(true);
    if (!this.#wanted) void this.#lock.release();
  }

  #released() {
    this.#lock = null;
    this.#told(false);
    void this.#take();
  }

  /** @param {boolean} held */
  #told(held) {
    this.held = held;
    this.onChange();
  }
}
