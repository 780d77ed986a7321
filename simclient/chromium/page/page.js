// @ts-check
// What the harness does in a tab: it makes a client, gives it media that can be
// proven, and tells the harness what happens.

import { CallClient } from '../../web/client.js';
import { barcode, columns, rows } from './marks.js';

/** @typedef {{url: string, device: string, relay: boolean, seed: number}} Config */
/** @typedef {import('../../web/types.d.ts').About} About */

const harness = new WebSocket(String(new URL('events' + location.search, location.href)).replace(/^http/, 'ws'));
const opened = new Promise((resolve) => { harness.onopen = resolve; });
const units = new Worker('units.js' + location.search, { type: 'module' });
const lookEvery = 250; // milliseconds
const pictureEvery = 66;
const user = new URLSearchParams(location.search).get('user') ?? '';

/**
 * Asks the harness, which answers in JSON.
 * @param {string} path
 * @param {unknown} [body]
 */
async function ask(path, body) {
  const answer = await fetch(path + location.search, { method: 'POST', body: JSON.stringify(body ?? null) });
  if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
  return answer.json();
}

/** @param {About} about */
const markOf = (about) => about.room || about.call;

/** The camera: a canvas with a barcode that names the user and the call. */
function camera() {
  const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById('own'));
  const own = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  const small = new OffscreenCanvas(columns, rows);
  const cells = /** @type {OffscreenCanvasRenderingContext2D} */ (small.getContext('2d'));
  const pixels = cells.createImageData(columns, rows);
  let call = '';
  let count = 0;
  own.imageSmoothingEnabled = false;
  setInterval(() => {
    barcode({ call, user, track: 1 }, count++ & 0xff).forEach((bright, i) => {
      pixels.data.fill(bright ? 255 : 0, 4 * i, 4 * i + 3);
      pixels.data[4 * i + 3] = 255;
    });
    cells.putImageData(pixels, 0, 0);
    own.drawImage(small, 0, 0, canvas.width, canvas.height);
  }, pictureEvery);
  return { track: () => canvas.captureStream().getVideoTracks()[0], show: (/** @type {string} */ name) => { call = name; } };
}

/** The microphone: a tone, whose packets the worker replaces by marked ones of a clip. */
function microphone() {
  const audio = new AudioContext();
  const tone = audio.createOscillator();
  const out = audio.createMediaStreamDestination();
  tone.connect(out);
  tone.start();
  return () => out.stream.getAudioTracks()[0].clone();
}

/** Looks at what the page renders, and gives the harness its brightness pixel by pixel. */
function watch() {
  const video = /** @type {HTMLVideoElement} */ (document.getElementById('other'));
  const canvas = new OffscreenCanvas(1, 1);
  const look = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d', { willReadFrequently: true }));
  setInterval(() => {
    const { videoWidth: width, videoHeight: height } = video;
    if (!video.srcObject || !width || !height || harness.readyState !== 1) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    look.drawImage(video, 0, 0, width, height);
    const { data } = look.getImageData(0, 0, width, height);
    const message = new Uint8Array(8 + width * height);
    const head = new DataView(message.buffer);
    head.setUint16(0, width);
    head.setUint16(2, height);
    head.setUint32(4, video.getVideoPlaybackQuality().totalVideoFrames);
    for (let i = 0, p = 0; i < width * height; i++, p += 4) message[8 + i] = (data[p] + 2 * data[p + 1] + data[p + 2]) >> 2;
    harness.send(message);
  }, lookEvery);
  return (/** @type {MediaStreamTrack} */ track) => {
    const stream = /** @type {MediaStream | null} */ (video.srcObject) ?? new MediaStream();
    for (const old of stream.getTracks()) if (old.kind === track.kind) stream.removeTrack(old);
    stream.addTrack(track);
    video.srcObject = stream;
    video.play().catch(() => {}); // a newer track interrupts it
  };
}

/**
 * A random number from 0 to 1 that is the same in each run with the same seed.
 * @param {number} seed
 */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Lets the encoder begin anew each second, as the clips of other clients do: who
 * looks at pictures without decoding all of them needs no more. A media server
 * need not pass every request for a key frame on.
 * @param {RTCRtpSender} sender
 */
function wantKeyFrames(sender) {
  const timer = setInterval(() => {
    if (sender.transport?.state === 'closed') clearInterval(timer);
    if (!sender.track || sender.transport?.state !== 'connected') return;
    const parameters = sender.getParameters();
    const encodingOptions = parameters.encodings.map(() => ({ keyFrame: true }));
    /** @type {any} */ (sender).setParameters(parameters, { encodingOptions }).catch(() => {}); // the next time is near
  }, 1000);
}

const own = camera();
const sound = microphone();
const show = watch();

/** @type {CallClient} */
let client;

/** @param {Config} config */
async function start(config) {
  await opened;
  client = new CallClient({
    url: config.url, device: config.device, relay: config.relay, random: random(config.seed), statsEvery: 1000,
    token: () => ask('token'),
    media: (about) => {
      own.show(markOf(about));
      return [sound(), own.track()];
    },
    hooks: {
      sender: (sender, kind, about) => {
        if (kind === 'video') wantKeyFrames(sender);
        /** @type {any} */ (sender).transform = transform('send', kind, { call: markOf(about), user, track: kind === 'audio' ? 0 : 1 });
      },
      receiver: (receiver, kind) => {
        /** @type {any} */ (receiver).transform = transform('receive', kind);
      },
      iceServers: (list) => ask('servers', list),
      candidate: (candidate, side) => ask('candidate', { candidate, side }),
    },
  });
  client.on('*', (attrs, kind) => {
    if (kind === 'track') show(attrs.track);
    else harness.send(JSON.stringify({ kind, attrs }));
  });
}

/**
 * @param {string} side
 * @param {string} kind
 * @param {import('./marks.js').Identity} [identity]
 */
function transform(side, kind, identity) {
  return new /** @type {any} */ (globalThis).RTCRtpScriptTransform(units, { side, kind, identity });
}

/**
 * Calls a method of the client for the harness.
 * @param {string} method
 * @param {any[]} args
 * @returns {Promise<{value?: any, code?: string, error?: string}>}
 */
async function perform(method, args) {
  try {
    const value = await /** @type {any} */ (client)[method](...args);
    return { value: value ?? null };
  } catch (e) {
    const error = /** @type {any} */ (e);
    if (error.name === 'Refused') return { code: error.code, error: error.detail };
    return { code: '', error: error.message || String(error) };
  }
}

/** Puts raw bytes on the client's WebSocket. */
const put = (/** @type {string} */ text) => client.send(text);
const putBinary = (/** @type {number[]} */ bytes) => client.send(Uint8Array.from(bytes));

/** Says goodbye, and that nothing more will be told. */
function end() {
  client?.close();
  setTimeout(() => harness.close(1000), 50); // the WebSocket's end is told, too
}

/** @type {any} */ (globalThis).callbench = { start, perform, put, putBinary, end };
