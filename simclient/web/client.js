// @ts-check
// A browser's client of the call protocol: one WebSocket, one call at a time.

import { Line } from './line.js';
import { Servers } from './servers.js';
import { Session } from './session.js';

import { NotPossible, Refused } from './wire.js';

export { NotPossible, Refused };

/** @typedef {import('./types.d.ts').Options} Options */
/** @typedef {import('./types.d.ts').Settings} Settings */
/** @typedef {import('./types.d.ts').Attrs} Attrs */
/** @typedef {import('./types.d.ts').Frame} Frame */
/** @typedef {import('./types.d.ts').Handler} Handler */
/** @typedef {import('./types.d.ts').HistoryQuery} HistoryQuery */

const rememberedMessages = 256;
const rememberedUsers = 4096;

/** One device of one user. Its methods reject with Refused if the server refuses, and with NotPossible if they make no sense as things are. */
export class CallClient {
  /** @param {Options} options */
  constructor(options) {
    this.settings = withDefaults(options);
    /** @type {Map<string, Set<Handler>>} */
    this.handlers = new Map();
    this.sentMessages = 0;
    /** @type {Set<string>} */
    this.seenMessages = new Set();
    /** @type {Map<string, number>} */
    this.versions = new Map(); // of users' presence
    const event = this.emit.bind(this);
    /** @type {Session} */
    this.session = new Session(this.settings, {
      event: (kind, attrs) => this.line.event(this.line.call, kind, attrs),
      push: (f) => this.push(f),
      welcomed: (w, resumed) => {
        this.servers.take(w.iceServers, w.iceTTL);
        if (resumed) this.line.recognize(w.call);
      },
      resumed: (w) => this.line.compare(w.call),
      over: () => this.line.drop(),
      alive: () => this.line.alive(),
      moot: (frame, error) => this.line.moot(frame.about, error),
    });
    /** @type {Servers} */
    this.servers = new Servers(this.settings, this.session, event);
    /** @type {Line} */
    this.line = new Line(this.settings, this.session, this.servers, event);
  }

  /**
   * Calls a handler for each event of a kind, or with '*' for every one; docs/web.md lists them.
   * @param {string} kind
   * @param {Handler} handler
   * @returns {() => void} ends it
   */
  on(kind, handler) {
    const set = this.handlers.get(kind) ?? new Set();
    this.handlers.set(kind, set.add(handler));
    return () => set.delete(handler);
  }

  /**
   * @param {string} kind
   * @param {Attrs} attrs
   */
  emit(kind, attrs) {
    for (const name of [kind, '*']) {
      for (const handler of this.handlers.get(name) ?? []) handler(attrs, kind);
    }
  }

  /** Opens the WebSocket and says hello. From then on the client comes back by itself. */
  connect() {
    return this.session.connect();
  }

  /** Says goodbye: the session ends at once, and its call. */
  close() {
    if (this.line.call) this.line.closeMedia(this.line.call);
    this.session.close();
  }

  /** Gives the connection up, as if the network had lost it; the client comes back. */
  drop() {
    this.session.kill('dropped');
  }

  /**
   * Calls a user; resolves when the server has made the call.
   * @param {string} user
   */
  call(user) {
    return this.line.start(user);
  }

  /** Tells the caller that this device rings. Only with manualRing it has to be called. */
  ring() {
    return this.line.ring();
  }

  /** Answers the incoming call. */
  accept() {
    return this.line.accept();
  }

  /** Leaves the call: cancels one that is not answered, declines an incoming one, ends any other. */
  hangup() {
    return this.line.quit('leave');
  }

  /** Declines the incoming call. */
  reject() {
    return this.line.quit('reject');
  }

  /** Says that this device is in a call that the server does not know of. */
  busy() {
    return this.line.quit('busy');
  }

  /** Takes the outgoing call back before it is answered. */
  cancel() {
    return this.line.quit('cancel');
  }

  /**
   * Comes into a room, and makes it if a type is given; '' is the room of the ringing call.
   * @param {string} room
   * @param {{type?: 'mcu'|'broadcast', role?: 'publisher'|'subscriber'}} [options]
   */
  join(room, options = {}) {
    return this.line.join(room, options);
  }

  /**
   * Goes out of the room or call; '' is the one that the client is in.
   * @param {string} [room]
   */
  async leave(room = '') {
    if (!room || this.line.call?.room === room) return this.line.quit('leave');
    await this.line.ask(null, 'leave', { roomId: room });
  }

  /**
   * @param {string} user
   * @param {'publisher'|'subscriber'} role
   */
  setRole(user, role) {
    return this.inRoom('role', { userId: user, role });
  }

  /** @param {string} user */
  kick(user) {
    return this.inRoom('kick', { userId: user });
  }

  /** @param {'start'|'stop'} what */
  record(what) {
    return this.inRoom('record', { recording: what });
  }

  /**
   * @param {string} action
   * @param {object} data
   */
  async inRoom(action, data) {
    const k = this.line.call;
    if (!k?.room) throw new NotPossible('there is no such call');
    await this.line.ask(k, action, { ...k.ref, ...data });
  }

  /**
   * Stops sending one kind of media, or goes on. Nothing is sent meanwhile.
   * @param {'audio'|'video'} kind
   * @param {boolean} muted
   */
  setMuted(kind, muted) {
    return this.line.mute(kind, muted);
  }

  /**
   * Sends an IM message; resolves with its id when the server has it.
   * @param {string} to
   * @param {string} content
   */
  async message(to, content) {
    this.sentMessages++;
    const messageId = `m-${this.session.id}-${this.sentMessages}`.slice(0, 64);
    await this.session.request('message', '', { messageId, to, content });
    this.emit('im.sent', { to, message: messageId });
    return messageId;
  }

  /**
   * Asks for a user's presence.
   * @param {string} user
   */
  async askPresence(user) {
    const state = await this.session.request('state', '', { userId: user });
    this.onState(state);
    return state;
  }

  /**
   * Shows the user as online or offline, whatever its connections say.
   * @param {'online'|'offline'} status
   */
  async setPresence(status) {
    await this.session.request('state', '', { status });
  }

  /**
   * Asks for a page of what is over.
   * @param {HistoryQuery} query
   * @returns {Promise<{items: object[], next?: string}>}
   */
  async history(query) {
    const page = await this.session.request('history', '', query);
    const items = page.items ?? [];
    for (const item of items) this.emit('history.item', { what: query.what, ...item });
    this.emit('history.page', { what: query.what, count: items.length, more: !!page.next });
    return { items, next: page.next };
  }

  /** Shows a newer token now. */
  refreshToken() {
    return this.session.refreshToken();
  }

  /**
   * Sends any frame as a request and resolves with the data of its acknowledgement.
   * @param {string} type
   * @param {string} action
   * @param {object} [data]
   */
  request(type, action, data) {
    return this.session.request(type, action, data);
  }

  /**
   * Puts anything on the WebSocket, however wrong it is: for tests of servers.
   * @param {string | Uint8Array<ArrayBuffer>} raw
   */
  send(raw) {
    this.session.put(raw);
  }

  /** The connection, the session and the call as they are now. */
  get state() {
    const { call } = this.line;
    return {
      link: this.session.state, session: this.session.id, user: this.session.user,
      call: call?.id ?? '', room: call?.room ?? '', peer: call?.peer ?? '', callState: call?.state ?? '', leg: call?.leg?.n ?? 0,
    };
  }

  /** The RTCPeerConnection of the call, null without one. */
  get peerConnection() {
    return this.line.call?.leg?.pc ?? null;
  }

  /** @param {Frame} f */
  push(f) {
    const data = f.data ?? {};
    switch (f.type) {
      case 'rtc':
        return this.line.push(f.action ?? '', data);
      case 'rtc_invite':
        return this.line.invited(/** @type {any} */ (data));
      case 'message':
        return this.onMessage(data);
      case 'state':
        return this.onState(data);
      default:
        return this.line.violation(this.line.call, 'unknown_type', { type: f.type, action: f.action ?? '' });
    }
  }

  /** @param {any} m */
  onMessage(m) {
    if (!m.from) return this.line.violation(this.line.call, 'bad_frame', { type: 'message' });
    /** @type {Attrs} */
    const attrs = { from: m.from, to: m.to ?? '' };
    if (m.messageId) {
      attrs.message = m.messageId;
      const key = `${m.from}\0${m.messageId}`;
      if (this.seenMessages.has(key)) return this.emit('im.duplicate', attrs);
      this.seenMessages.add(key);
      const [oldest] = this.seenMessages;
      if (this.seenMessages.size > rememberedMessages) this.seenMessages.delete(oldest);
    }
    attrs.text = m.content ?? '';
    if (m.call) Object.assign(attrs, { call: m.call.callId, outcome: m.call.outcome, duration: m.call.duration ?? 0 });
    this.emit('im.message', attrs);
  }

  /** @param {any} s */
  onState(s) {
    if (!s.userId || !s.status) return this.line.violation(this.line.call, 'bad_frame', { type: 'state' });
    /** @type {Attrs} */
    const attrs = { user: s.userId, status: s.status };
    if (s.lastSeen) attrs.last_seen = s.lastSeen;
    if (s.version) {
      attrs.version = s.version;
      const known = this.versions.get(s.userId) ?? 0;
      if (s.version < known) return this.emit('presence.stale', { ...attrs, known });
      if (this.versions.size >= rememberedUsers) this.versions.clear();
      this.versions.set(s.userId, s.version);
    }
    this.emit('presence.state', attrs);
  }
}

/**
 * @param {Options} o
 * @returns {Settings}
 */
function withDefaults(o) {
  return {
    relay: false, manualRing: false, statsEvery: 0, stopTracks: true, device: '', iceServers: [], rtc: {},
    random: Math.random, now: () => Date.now(),
    WebSocket: globalThis.WebSocket, RTCPeerConnection: globalThis.RTCPeerConnection, MediaStream: globalThis.MediaStream,
    media: async () => (await navigator.mediaDevices.getUserMedia({ audio: true, video: true })).getTracks(),
    ...o,
    hooks: { ...o.hooks },
    reconnect: { first: 500, max: 8000, attempt: 5000, giveUp: 120000, ...o.reconnect },
    heartbeat: { every: 10000, pong: 2000, ...o.heartbeat },
  };
}
