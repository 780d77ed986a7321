// @ts-check

/** @typedef {import('./types.d.ts').ReconnectPolicy} ReconnectPolicy */

/**
 * How long to wait before each attempt to come back: drawn evenly from zero to
 * first·2ⁿ, at most max ("full jitter"), so that the clients of a server that
 * restarts do not return in step.
 */
export class Backoff {
  /**
   * @param {ReconnectPolicy} policy
   * @param {() => number} [random] from 0 to 1
   */
  constructor(policy, random = Math.random) {
    this.policy = policy;
    this.random = random;
    this.attempts = 0;
  }

  /** The delay before the next attempt, in milliseconds. */
  next() {
    const limit = Math.min(this.policy.max, this.policy.first * 2 ** Math.min(this.attempts, 16));
    this.attempts++;
    return this.random() * limit;
  }

  reset() {
    this.attempts = 0;
  }
}
