/** The link to watch: shown, copied, shared, as a QR code. */

import { $ } from "../viewer/panels.js";

const SAID_MS = 2500;

export class Share {
  /** @type {URL | null} */
  #link = null;
  #picture = "";

  /** @param {URL} qrAddress  where the gateway draws QR codes @param {() => Record<string, string>} headers */
  constructor(qrAddress, headers) {
    this.qrAddress = qrAddress;
    this.headers = headers;
    $("copy").onclick = () => this.#copy();
    $("send").onclick = () => this.#send();
    $("send").hidden = !("share" in navigator);
  }

  /** @param {URL | null} link */
  show(link) {
    if (link?.href === this.#link?.href) return;
    this.#link = link;
    $("share-empty").hidden = link !== null;
    $("share-body").hidden = link === null;
    this.#drop();
    if (link === null) return;
    $("link").href = link.href;
    $("link").textContent = link.host + link.pathname + link.search;
    const local = ["localhost", "127.0.0.1", "[::1]"].includes(link.hostname);
    $("share-note").hidden = !local;
    if (local) $("share-note").textContent = "This address works on this machine only. Open the page under the machine's own address to watch from elsewhere.";
    void this.#draw(link);
  }

  /** The link may hold a token: it goes in the body, where no log looks. @param {URL} link */
  async #draw(link) {
    const headers = { "Content-Type": "application/json", ...this.headers() };
    const answer = await fetch(this.qrAddress, { method: "POST", headers, body: JSON.stringify({ link: link.href }) }).catch(() => null);
    if (!answer?.ok || this.#link !== link) return; // the link itself is there
    this.#picture = URL.createObjectURL(await answer.blob());
    $("qr").src = this.#picture;
    $("qr").hidden = false;
  }

  #drop() {
    $("qr").hidden = true;
    URL.revokeObjectURL(this.#picture);
    this.#picture = "";
  }

  async #copy() {
    const done = await navigator.clipboard?.writeText(String(this.#link)).then(() => true, () => false);
    this.#say(done ? "Copied" : "The browser refused; hold the link and copy it");
  }

  async #send() {
    const url = String(this.#link);
    await navigator.share({ title: "Framegate", text: "Watch my camera", url }).catch(() => {}); // changed their mind
  }

  /** @param {string} text */
  #say(text) {
    $("share-said").textContent = text;
    setTimeout(() => ($("share-said").textContent = ""), SAID_MS);
  }
}
