// A server and a browser that do as a test says.

import { afterEach } from 'node:test';
import { CallClient } from '../client.js';

const clients = [];
afterEach(() => { for (const c of clients.splice(0)) c.close(); }); // or their timers would keep the process

/** Lets everything run that waits for nothing but its turn. */
export const settle = async () => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

/** The server's end of each WebSocket that a client opens. */
export class FakeServer {
  sockets = [];
  seq = 0;

  get socket() {
    return this.sockets.at(-1);
  }

  /** What the client has written on the newest socket. */
  get frames() {
    return this.socket.sent;
  }

  last(type, action) {
    return this.frames.filter((f) => f.type === type && (!action || f.action === action)).at(-1);
  }

  send(frame) {
    this.socket.onmessage?.({ data: JSON.stringify(frame) });
    return settle();
  }

  /** Sends a numbered push. */
  push(type, action, data) {
    this.seq++;
    return this.send({ type, ...(action && { action }), seq: this.seq, data });
  }

  ack(frame, data = {}) {
    return this.send({ type: 'ack', id: frame.id, data });
  }

  refuse(frame, code, message = '') {
    return this.send({ type: 'error', id: frame.id, data: { code, message } });
  }

  /** Lets the newest socket in, and answers its hello and the probe behind that. */
  async welcome(data = {}) {
    this.socket.open();
    await settle();
    await this.ack0(data);
    await this.ack(this.last('state'), { userId: 'alice', status: 'online' });
  }

  ack0(data) {
    return this.send({ type: 'welcome', id: this.last('hello').id, data: { version: 1, sessionId: 's-1', userId: 'alice', resumeToken: 'r-1', resumed: false, ...data } });
  }

  close(code) {
    this.socket.readyState = 3;
    this.socket.onclose?.({ code, wasClean: code !== 1006 });
    return settle();
  }
}

/** A client at a fake server, with a clock of its own, and what it has told. */
export function rig(options = {}) {
  const server = new FakeServer();
  const pcs = [];
  const told = [];
  class Socket {
    readyState = 0;
    sent = [];
    raw = [];
    constructor(url) {
      this.url = url;
      server.sockets.push(this);
    }
    open() {
      this.readyState = 1;
      this.onopen?.();
    }
    send(text) {
      this.raw.push(text);
      if (typeof text === 'string') try { this.sent.push(JSON.parse(text)); } catch { /* raw */ }
    }
    close(code) {
      this.closed = code;
      this.readyState = 3;
    }
  }
  class Peer {
    constructor(config) {
      Object.assign(this, { config, transceivers: [], candidates: [], iceConnectionState: 'new', connectionState: 'new' });
      pcs.push(this);
    }
    addTransceiver(track, init) {
      const sender = { track: typeof track === 'string' ? null : track, transport: null, replaceTrack: async (t) => { sender.track = t; } };
      const t = { track, init, sender, receiver: {} };
      this.transceivers.push(t);
      return t;
    }
    getTransceivers() {
      return this.transceivers;
    }
    async setLocalDescription() {
      this.localDescription = { type: 'offer', sdp: `offer ${pcs.length}` };
    }
    async setRemoteDescription(d) {
      this.remoteDescription = d;
    }
    async addIceCandidate(c) {
      this.candidates.push(c.candidate);
    }
    async getStats() {
      return new Map([['1', { type: 'inbound-rtp', kind: 'audio', packetsReceived: 7, totalAudioEnergy: 0.5 }], ['2', { type: 'codec' }]]);
    }
    gather(candidate, type = 'host') {
      this.onicecandidate?.({ candidate: candidate && { candidate, type, toJSON: () => ({ candidate, sdpMid: '0', sdpMLineIndex: 0 }) } });
      return settle();
    }
    become(state) {
      this.connectionState = state;
      this.onconnectionstatechange?.();
      return settle();
    }
    close() {
      this.closed = true;
    }
  }
  const track = (kind) => ({ kind, readyState: 'live', stop() { this.readyState = 'ended'; } });
  const client = new CallClient({
    url: 'wss://server/ws', device: 'd', token: () => 'jwt', media: () => [track('audio'), track('video')], random: () => 1, now: () => Date.now(),
    WebSocket: Socket, RTCPeerConnection: Peer, MediaStream: class {}, ...options,
  });
  clients.push(client);
  client.on('*', (attrs, kind) => told.push({ kind, ...attrs }));
  const events = (kind) => told.filter((e) => e.kind === kind);
  return { client, server, pcs, told, events, last: (kind) => events(kind).at(-1) };
}

/** A client that is connected. */
export async function connected(options, welcome) {
  const r = rig(options);
  const done = r.client.connect();
  await settle();
  await r.server.welcome(welcome);
  await done;
  return r;
}

/** A client whose call was answered, and whose offer is on its way. */
export async function inCall(options) {
  const r = await connected(options);
  const called = r.client.call('bob');
  await r.server.ack(r.server.last('rtc', 'call'), { callId: 'c-1', roomId: 'r-1' });
  await called;
  await r.server.push('rtc', 'answer', { callId: 'c-1', roomId: 'r-1', userId: 'bob' });
  return r;
}
