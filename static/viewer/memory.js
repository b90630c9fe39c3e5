/** What the browser keeps for a page; nothing where it keeps nothing. */

/** @typedef {{getItem: (key: string) => string | null, setItem: (key: string, value: string) => void, removeItem: (key: string) => void}} Memory */

/** @param {"localStorage" | "sessionStorage"} area @returns {Memory} */
export function memory(area) {
  try {
    return window[area];
  } catch {
    return { getItem: () => null, setItem: () => {}, removeItem: () => {} };
  }
}

/** An object that was kept as JSON; an empty one where there is none. @param {Memory} kept @param {string} key @returns {Record<string, any>} */
export function recall(kept, key) {
  try {
    return JSON.parse(kept.getItem(key) ?? "{}") ?? {};
  } catch {
    return {};
  }
}

/** @param {Memory} kept @param {string} key @param {object} value */
export function keep(kept, key, value) {
  try {
    kept.setItem(key, JSON.stringify(value));
  } catch {
    // full, or not allowed: the choice holds for this visit
  }
}
