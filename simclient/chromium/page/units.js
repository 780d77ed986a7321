// @ts-check
// The worker that every coded unit passes. What is sent gets its marker; of what is
// received, the harness gets what holds one.

import { marker } from './marks.js';

/** @typedef {{side: 'send'|'receive', kind: 'audio'|'video', identity: import('./marks.js').Identity}} Task */

const scope = /** @type {any} */ (self);
const socket = new WebSocket(String(new URL('units' + location.search, location.href)).replace(/^http/, 'ws'));
socket.binaryType = 'arraybuffer';
/** @type {(string | Uint8Array<ArrayBuffer>)[]} */
let early = [];
socket.onopen = () => {
  for (const m of early) socket.send(m);
  early = [];
};

/** @param {string | Uint8Array<ArrayBuffer>} message */
function report(message) {
  if (socket.readyState === 1) socket.send(message);
  else if (socket.readyState === 0) early.push(message);
}

/** @type {Uint8Array[]} */
let sound = [];
const ready = fetch('sound').then((r) => r.arrayBuffer()).then((b) => {
  const view = new DataView(b);
  for (let at = 0; at < b.byteLength;) {
    const size = view.getUint16(at);
    sound.push(new Uint8Array(b, at + 2, size));
    at += 2 + size;
  }
});

/** @type {Record<string, number>} */
const sequences = {}; // by call and kind: they go on from leg to leg
/** @type {Record<string, {units: number, bytes: number}>} */
const sent = {};

setInterval(() => {
  if (Object.keys(sent).length > 0) report(JSON.stringify({ sent }));
}, 500);

/**
 * An Opus packet of the clip with a marker in its second frame, which is silent
 * whatever follows its first two bytes.
 * @param {number} n
 * @param {Uint8Array} mark
 */
function markedSound(n, mark) {
  const packet = sound[n % sound.length];
  const frame = packet.subarray(1);
  const length = frame.length < 252 ? [frame.length] : [252 + (frame.length & 3), (frame.length - 252 - (frame.length & 3)) >> 2];
  return Uint8Array.of(packet[0] | 2, ...length, ...frame, 0xff, 0xfe, ...mark);
}

/**
 * @param {any} frame an encoded frame
 * @param {Task} task
 */
function mark(frame, { kind, identity }) {
  const key = `${identity.call} ${kind}`;
  const n = (sequences[key] ??= 0);
  sequences[key]++;
  const bytes = marker(identity, n, BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e3)) * 1000n);
  if (kind === 'audio') {
    frame.data = markedSound(n, bytes).buffer;
  } else {
    const data = new Uint8Array(frame.data.byteLength + bytes.length);
    data.set(new Uint8Array(frame.data));
    data.set(bytes, frame.data.byteLength);
    frame.data = data.buffer;
  }
  const count = (sent[kind] ??= { units: 0, bytes: 0 });
  count.units++;
  count.bytes += frame.data.byteLength;
}

/**
 * Tells of a unit that came: its kind, whether it is a key frame, its size, and
 * the part that may hold a marker.
 * @param {any} frame an encoded frame
 * @param {Task} task
 */
function tap(frame, { kind }) {
  const data = new Uint8Array(frame.data);
  const part = kind === 'audio' ? data : data.subarray(Math.max(0, data.length - 32));
  const out = new Uint8Array(6 + part.length);
  out[0] = kind === 'audio' ? 0 : 1;
  out[1] = frame.type === 'key' ? 1 : 0;
  new DataView(out.buffer).setUint32(2, data.length);
  out.set(part, 6);
  report(out);
}

scope.onrtctransform = async (/** @type {any} */ event) => {
  const { readable, writable, options } = event.transformer;
  await ready;
  const pass = options.side === 'send' ? mark : tap;
  readable.pipeThrough(new TransformStream({
    transform(frame, controller) {
      pass(frame, options);
      controller.enqueue(frame);
    },
  })).pipeTo(writable).catch(() => {}); // it ends with its leg
};
