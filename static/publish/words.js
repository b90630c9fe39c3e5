/** What went wrong, in words that help: each a title, what to do about it, and sometimes a button. No DOM. */

/**
 * @typedef {"retry" | "file" | "renew"} Remedy  a button: try again, take a file instead, open a new stream
 * @typedef {{title: string, help?: string, remedies?: Remedy[]}} Words
 */

/** Why there is no camera, by the name of the browser's error. @type {Record<string, Words>} */
const CAMERA = {
  NotAllowedError: {
    title: "The browser does not let this page use the camera",
    help: "Allow the camera for this page: tap the icon beside the address, or look for the site's permissions in the settings of the browser.",
    remedies: ["retry", "file"],
  },
  NotFoundError: {
    title: "There is no camera",
    help: "Connect one, or publish a video or pictures from this device.",
    remedies: ["retry", "file"],
  },
  NotReadableError: {
    title: "The camera is in use",
    help: "Another program or page has it. Close that one, then try again.",
    remedies: ["retry", "file"],
  },
};
const SAME = { OverconstrainedError: "NotFoundError", AbortError: "NotReadableError", SecurityError: "NotAllowedError" };

/** @param {unknown} error @returns {Words} */
export function wordsOfCamera(error) {
  const { name = "", message = "" } = /** @type {Partial<Error>} */ (error ?? {});
  const known = CAMERA[/** @type {Record<string, string>} */ (SAME)[name] ?? name];
  return known ?? { title: "The camera does not work", help: message || name, remedies: ["retry", "file"] };
}

/** @param {string} host  of the page's address, without the port @returns {Words} */
export function wordsOfInsecurity(host) {
  return {
    title: "The camera needs HTTPS",
    help: `Browsers give it only to pages opened over HTTPS or on the machine itself. Start the gateway with “framegate serve --tls --host 0.0.0.0” and open https://${host}. A file can be published all the same.`,
    remedies: ["file"],
  };
}

/** Why a stream is over, by the reason. @type {Record<string, Words>} */
const ENDED = {
  credential: { title: "You are not signed in", help: "Sign in, then open this page again." },
  scope: { title: "You may not publish here", help: "Ask whoever runs the gateway for access." },
  second_publisher: {
    title: "Another camera publishes to this stream",
    help: "It has gone on here as long as that one sends. Stop it, then try again, or open a stream of your own.",
    remedies: ["retry", "renew"],
  },
  deleted: { title: "Somebody ended the stream", help: "Its link works no longer.", remedies: ["retry"] },
  not_found: { title: "There is no such stream", remedies: ["renew"] },
  message_too_big: { title: "The pictures are too large for the gateway", help: "Choose a smaller size.", remedies: ["retry"] },
};
const MEANT = { unauthenticated: "credential", forbidden: "scope", csrf: "scope", image_too_large: "message_too_big" };

/** @param {string | null} reason @returns {Words} */
export function wordsOfEnd(reason) {
  const plain = (reason ?? "").replaceAll("_", " ");
  const meant = /** @type {Record<string, string>} */ (MEANT)[reason ?? ""] ?? reason ?? "";
  return ENDED[meant] ?? { title: `The stream is over: ${plain}`, remedies: ["retry", "renew"] };
}

/** @type {Record<string, string>} */
const WAITS = {
  at_capacity: "The gateway is full",
  unreachable: "The gateway does not answer",
  shutdown: "The gateway restarts",
  too_many_attempts: "The gateway asks for patience",
};

/** @param {string | null} reason */
export function wordsOfWait(reason) {
  return WAITS[reason ?? ""] ?? (/^disconnected/.test(reason ?? "") ? "The connection broke" : (reason ?? "").replaceAll("_", " "));
}
