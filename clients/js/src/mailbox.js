/** A bounded queue with one consumer: `put` never waits and drops the oldest. As on the server, the only buffer here. */

/** @template T */
export class Mailbox {
  /** @type {T[]} */
  #items = [];
  /** @type {((result: IteratorResult<T>) => void) | null} */
  #waiting = null;
  #closed = false;

  /** Items that nobody took in time. */
  dropped = 0;

  /** @param {number} capacity @param {() => void} [onClose]  told once, when the consumer leaves or it is closed */
  constructor(capacity, onClose = () => {}) {
    this.capacity = capacity;
    this.onClose = onClose;
  }

  /** @param {T} item */
  put(item) {
    if (this.#closed) return;
    if (this.#waiting) return this.#answer({ value: item, done: false });
    this.#items.push(item);
    if (this.#items.length > this.capacity) {
      this.#items.shift();
      this.dropped += 1;
    }
  }

  /** What is in it can still be taken; then the consumer is done. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.onClose();
    if (this.#waiting) this.#answer({ value: undefined, done: true });
  }

  /** @returns {Promise<IteratorResult<T>>} */
  next() {
    const item = this.#items.shift();
    if (item !== undefined) return Promise.resolve({ value: item, done: false });
    if (this.#closed) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve) => (this.#waiting = resolve));
  }

  /** The consumer leaves its `for await`. @returns {Promise<IteratorResult<T>>} */
  return() {
    this.#items = [];
    this.close();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** @param {IteratorResult<T>} result */
  #answer(result) {
    const answer = this.#waiting;
    this.#waiting = null;
    answer?.(result);
  }
}
