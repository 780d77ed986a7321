// @ts-check
// The frames of the protocol, and what close codes and refusals mean.

/** @typedef {import('./types.d.ts').Frame} Frame */

/** The protocol version that hello offers. */
export const version = 1;

/** What the server refuses, with the code of its error frame. */
export class Refused extends Error {
  /**
   * @param {string} code of the protocol, such as busy
   * @param {string} [message] for people
   * @param {number} [retryAfter] seconds after which the request may be repeated
   */
  constructor(code, message = '', retryAfter = 0) {
    super(message ? `${code}: ${message}` : code);
    this.name = 'Refused';
    this.code = code;
    this.detail = message;
    this.retryAfter = retryAfter;
  }
}

/** The request cannot be made as things are: there is no connection, or no such call. */
export class NotPossible extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = 'NotPossible';
  }
}

/** @type {Record<number, {code: string, retry: 'resume'|'fresh'|'never'}>} */
const closes = {
  1009: { code: 'too_large', retry: 'resume' },
  1012: { code: 'going_away', retry: 'resume' },
  4400: { code: 'hello_required', retry: 'fresh' },
  4401: { code: 'unauthorized', retry: 'never' },
  4403: { code: 'revoked', retry: 'never' },
  4406: { code: 'version_unsupported', retry: 'never' },
  4408: { code: 'session_timeout', retry: 'resume' },
  4409: { code: 'superseded', retry: 'never' },
  4410: { code: 'token_expired', retry: 'resume' },
  4429: { code: 'slow_consumer', retry: 'resume' },
  4430: { code: 'limit_exceeded', retry: 'resume' },
};

/** The error codes after which nobody should come back. */
const final = new Set(Object.values(closes).filter((c) => c.retry === 'never').map((c) => c.code));

/**
 * What a close code means: its error code, if it has one, and how to come back.
 * @param {number} code
 */
export function closeMeaning(code) {
  return closes[code] ?? { code: '', retry: 'resume' };
}

/**
 * Whether a refusal of hello is for good.
 * @param {unknown} error
 */
export function isFinal(error) {
  return error instanceof Refused && final.has(error.code);
}

/**
 * Reads one text message; null if it is no frame.
 * @param {unknown} text
 * @returns {Frame | null}
 */
export function decode(text) {
  if (typeof text !== 'string') return null;
  try {
    const f = JSON.parse(text);
    if (f === null || typeof f !== 'object' || typeof f.type !== 'string' || f.type === '') return null;
    if (f.type === 'rtc' && !f.action) return null;
    return { ...f, data: f.data ?? {} };
  } catch {
    return null;
  }
}

/**
 * The refusal that an error frame tells of.
 * @param {Frame} f
 */
export function refusal(f) {
  return new Refused(String(f.data?.code || 'internal'), String(f.data?.message ?? ''), Number(f.data?.retryAfter ?? 0));
}
