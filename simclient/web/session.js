// @ts-check
// The signaling connection: one WebSocket, requests that are answered, numbered
// pushes, and a session that outlives its connections.

import { Backoff } from './backoff.js';
import { closeMeaning, decode, isFinal, NotPossible, refusal, Refused, version } from './wire.js';

/** @typedef {import('./types.d.ts').Frame} Frame */
/** @typedef {import('./types.d.ts').Attrs} Attrs */
/** @typedef {import('./types.d.ts').Settings} Settings */
/** @typedef {import('./types.d.ts').Welcome} Welcome */
/**
 * Who has the session: it is told what happens and decides what belongs to a call.
 * @typedef {object} Owner
 * @property {(kind: string, attrs: Attrs) => void} event
 * @property {(f: Frame) => void} push takes a push, in order
 * @property {(w: Welcome, resumed: boolean) => void} welcomed
 * @property {(w: Welcome) => void} resumed everything missed has been replayed
 * @property {() => void} over the session has ended, and what was in it
 * @property {() => void} alive the server has answered a probe
 * @property {(frame: Frame, error: Refused) => boolean} moot a refusal that is no news
 */
/**
 * @typedef {object} Pending
 * @property {Frame} frame
 * @property {unknown} about what the request belongs to
 * @property {boolean} sent
 * @property {(data: any) => void} resolve
 * @property {(error: Error) => void} reject
 */
/** @typedef {ReturnType<typeof setTimeout>} Timer */

const receiptAfter = 1000; // milliseconds after the first push that the server was not told of
const receiptEvery = 32; // pushes
const refreshPause = 1000;
const numbered = new Set(['rtc', 'rtc_invite', 'message', 'state']);

export class Session {
  /**
   * @param {Settings} settings
   * @param {Owner} owner
   */
  constructor(settings, owner) {
    this.settings = settings;
    this.owner = owner;
    /** @type {'idle'|'dialing'|'greeting'|'up'|'waiting'|'closed'} */
    this.state = 'idle';
    this.backoff = new Backoff(settings.reconnect, settings.random);
    /** @type {WebSocket | null} */
    this.socket = null;
    /** @type {{resolve: () => void, reject: (e: Error) => void} | null} */
    this.connecting = null;
    /** @type {Pending[]} */
    this.pending = [];
    this.lastID = 0;
    this.helloID = '';
    this.receipts = 0;
    /** @type {Record<string, Timer | undefined>} */
    this.timers = {};
    this.cause = '';
    this.down = 0;
    /** @type {{attempts: number, replayed: number, gap: number, welcome: Welcome} | null} */
    this.resumption = null;
    this.beat = '';
    this.begun = false;
    this.id = '';
    this.user = '';
    this.resumeToken = '';
    this.lastSeq = 0; // of the pushes that were seen
    this.told = 0; // the last of them that the server was told of
    this.expires = 0; // when the token runs out
    /** @type {Error | null} */
    this.refused = null; // why there was no welcome
  }

  /** Has no session any more. */
  forget() {
    Object.assign(this, { begun: false, id: '', user: '', resumeToken: '', lastSeq: 0, told: 0, expires: 0 });
  }

  /** @returns {Promise<void>} */
  connect() {
    if (this.state !== 'idle') return Promise.reject(new NotPossible('connected already, or trying to be'));
    return new Promise((resolve, reject) => {
      this.connecting = { resolve, reject };
      this.attempt();
    });
  }

  async attempt() {
    this.state = 'dialing';
    this.refused = null;
    const begin = this.settings.now();
    this.after('attempt', this.settings.reconnect.attempt, () => this.kill('welcome_timeout', new NotPossible('no welcome in time')));
    /** @type {string} */
    let token = '';
    try {
      token = this.settings.token ? await this.settings.token() : '';
    } catch (e) {
      if (this.state === 'dialing') this.failed(e instanceof Error ? e : new Error(String(e)));
      return;
    }
    if (this.state !== 'dialing' || this.socket) return;
    const socket = new this.settings.WebSocket(this.settings.url);
    this.socket = socket;
    this.cause = '';
    socket.onopen = () => {
      if (socket !== this.socket) return;
      this.event('ws.open', { attempt: this.backoff.attempts, took_ms: this.settings.now() - begin });
      this.greet(token);
    };
    socket.onmessage = (e) => {
      if (socket === this.socket) this.receive(e.data);
    };
    socket.onclose = (e) => {
      if (socket === this.socket) this.lost(e.code, this.cause || (e.wasClean ? 'server' : 'read_error'));
    };
  }

  /** @param {string} token */
  greet(token) {
    this.state = 'greeting';
    /** @type {Record<string, unknown>} */
    const hello = { version, features: ['resume'] };
    if (token) hello.token = token;
    if (this.settings.device) hello.device = this.settings.device;
    if (this.resumeToken) Object.assign(hello, { resume: this.resumeToken, lastSeq: this.lastSeq });
    this.helloID = this.newID();
    this.write({ type: 'hello', id: this.helloID, data: hello });
  }

  newID() {
    this.lastID++;
    return String(this.lastID);
  }

  /**
   * Takes a frame off the WebSocket: the one place that every frame passes.
   * @param {unknown} text
   */
  receive(text) {
    const f = decode(text);
    const size = typeof text === 'string' ? text.length : 0;
    if (!f) {
      this.violation('bad_frame', { size });
      return;
    }
    this.event('signal.received', described(f, size));
    if (!this.inOrder(f)) return;
    switch (f.type) {
      case 'welcome':
        return this.welcomed(/** @type {Welcome} */ (f.data));
      case 'ack':
      case 'error':
        return this.answered(f);
      default:
        return this.owner.push(f);
    }
  }

  /** @param {Frame} f */
  inOrder(f) {
    if (!numbered.has(f.type)) return true;
    const kind = { type: f.type, action: f.action ?? '' };
    if (!f.seq) {
      this.violation('seq_missing', kind);
      return true;
    }
    if (f.seq <= this.lastSeq) {
      this.event('signal.duplicate', { ...kind, seq: f.seq });
      return false;
    }
    if (f.seq !== this.lastSeq + 1) this.violation('seq_gap', { seq: f.seq, expected: this.lastSeq + 1 });
    this.lastSeq = f.seq;
    if (this.resumption) this.resumption.replayed++;
    this.owe();
    return true;
  }

  /** @param {Welcome} w */
  welcomed(w) {
    if (this.state !== 'greeting') {
      this.violation('unasked_welcome', { session: w.sessionId });
      return;
    }
    this.stop('attempt');
    this.state = 'up';
    if (w.resumed && this.begun) {
      if (w.sessionId !== this.id) this.violation('session_replaced', { session: w.sessionId });
      this.resumption = { attempts: this.backoff.attempts, replayed: 0, gap: this.settings.now() - this.down, welcome: w };
      this.resumeToken = w.resumeToken;
      this.event('session.welcome', { session: this.id, resumed: true, level: 1 });
      this.owner.welcomed(w, true);
      for (const p of this.pending) this.submit(p);
    } else {
      this.begin(w);
    }
    this.tokenTTL(w.tokenTTL ?? 0);
    this.probe();
  }

  /** @param {Welcome} w */
  begin(w) {
    if (this.begun) this.end('not_resumed');
    Object.assign(this, { begun: true, id: w.sessionId, user: w.userId, resumeToken: w.resumeToken, lastSeq: 0, told: 0 });
    this.event('session.welcome', { resumed: false, level: 1, session: w.sessionId });
    this.owner.welcomed(w, false);
    const connecting = this.connecting;
    this.connecting = null;
    connecting?.resolve();
  }

  /** @param {Frame} f */
  answered(f) {
    const i = this.pending.findIndex((p) => p.frame.id === f.id);
    const p = i < 0 ? null : this.pending.splice(i, 1)[0];
    const error = f.type === 'error' ? refusal(f) : null;
    if (error && !(p && this.owner.moot({ ...p.frame, about: p.about }, error))) {
      this.event('error', { code: error.code, message: error.detail, request: f.id ?? '' });
    }
    if (error && this.state === 'greeting') {
      this.refused = error;
    } else if (f.id && f.id === this.beat) {
      this.ponged();
    } else if (p) {
      if (error) p.reject(error);
      else p.resolve(f.data);
    } else if (f.id && !(Number(f.id) >= 1 && Number(f.id) <= this.lastID)) {
      this.violation('unknown_request', { request: f.id });
    }
  }

  /**
   * Sends a request; it is repeated after a resume until it is answered.
   * @param {string} type
   * @param {string} action
   * @param {object | undefined} data
   * @param {unknown} [about] what it belongs to
   * @returns {Promise<any>} the data of its acknowledgement
   */
  request(type, action, data, about) {
    if (!this.begun) return Promise.reject(new NotPossible('not connected'));
    return new Promise((resolve, reject) => {
      /** @type {Frame} */
      const frame = { type, ...(action && { action }), id: this.newID(), ...(data && { data }) };
      const p = { frame, about, sent: false, resolve, reject };
      this.pending.push(p);
      if (this.state === 'up') this.submit(p);
    });
  }

  /** @param {Pending} p */
  submit(p) {
    this.write(p.frame, p.sent);
    p.sent = true;
  }

  /**
   * @param {Frame} f
   * @param {boolean} [repeated]
   */
  write(f, repeated = false) {
    const text = JSON.stringify(f);
    /** @type {Attrs} */
    const attrs = { type: f.type, action: f.action ?? '', request: f.id ?? '', size: text.length };
    if (repeated) attrs.repeated = true;
    this.event('signal.sent', attrs);
    this.put(text);
  }

  /**
   * Puts anything on the WebSocket, however wrong it is.
   * @param {string | Uint8Array<ArrayBuffer>} raw
   */
  put(raw) {
    if (this.socket?.readyState !== 1) return; // the socket is ending; what is pending is repeated
    this.socket.send(raw);
  }

  /** Tells the server of a push that has just arrived, at once or a little later. */
  owe() {
    if (this.state !== 'up') return;
    if (this.lastSeq - this.told >= receiptEvery) this.sendReceipt();
    else if (!this.timers.receipt) this.after('receipt', receiptAfter, () => this.sendReceipt());
  }

  sendReceipt() {
    this.stop('receipt');
    if (this.told >= this.lastSeq) return;
    this.told = this.lastSeq;
    this.receipts++;
    this.write({ type: 'ack', data: { seq: this.lastSeq } });
  }

  /**
   * Asks whether the connection is alive. A page cannot send WebSocket pings, so
   * it asks for its own presence; the answer comes behind all that was replayed.
   */
  probe() {
    if (this.state !== 'up' || this.beat) return;
    this.stop('beat');
    this.beat = this.newID();
    this.write({ type: 'state', id: this.beat, data: { userId: this.user } });
    this.after('pong', this.settings.heartbeat.pong, () => this.kill('pong_timeout'));
  }

  ponged() {
    this.beat = '';
    this.stop('pong');
    this.after('beat', this.settings.heartbeat.every, () => this.probe());
    const r = this.resumption;
    if (r) {
      this.resumption = null;
      this.backoff.reset();
      this.event('session.resumed', { session: this.id, attempts: r.attempts, replayed: r.replayed, gap_ms: r.gap });
      this.owner.resumed(r.welcome);
    }
    this.owner.alive();
  }

  /**
   * Plans to show a newer token before the one in use runs out, in seconds from now.
   * @param {number} seconds
   */
  tokenTTL(seconds) {
    if (seconds <= 0 || !this.settings.token) return;
    this.expires = this.settings.now() + seconds * 1000;
    this.planRefresh();
  }

  planRefresh() {
    const rest = this.expires - this.settings.now();
    if (rest < refreshPause) return; // the server closes with token_expired, and the next connection has a new one
    this.after('refresh', Math.max((rest * 4) / 5, refreshPause), () => {
      this.refreshToken().catch((e) => {
        if (!this.begun) return;
        this.event('client.failure', { doing: 'refresh the token', error: String(e) });
        this.planRefresh();
      });
    });
  }

  async refreshToken() {
    if (!this.settings.token) throw new NotPossible('there is no token');
    const token = await this.settings.token();
    const ack = await this.request('token', '', { token });
    this.event('token.refreshed', { ttl: ack.tokenTTL ?? 0 });
    this.tokenTTL(ack.tokenTTL ?? 0);
  }

  /**
   * Gives the connection up: a page cannot break a TCP connection, so it forgets it.
   * @param {string} cause
   * @param {Error | null} [error] why there was no welcome
   */
  kill(cause, error = null) {
    const socket = this.socket;
    if (error && !this.refused) this.refused = error;
    if (!socket) {
      if (this.state === 'dialing') this.lost(1006, cause);
      return;
    }
    this.cause = cause;
    this.lost(1006, cause);
    socket.close(4000);
  }

  /**
   * Goes on after the connection ended, for whatever reason.
   * @param {number} code
   * @param {string} cause
   */
  lost(code, cause) {
    this.event('ws.closed', { code, cause });
    const state = this.state;
    this.socket = null;
    this.beat = '';
    for (const t of ['attempt', 'receipt', 'beat', 'pong']) this.stop(t);
    if (state === 'dialing' || state === 'greeting') {
      const meaning = closeMeaning(code);
      this.failed(this.refused ?? (meaning.code ? new Refused(meaning.code) : new NotPossible(`the connection ended with ${code}`)));
    } else if (state === 'up') {
      this.reconnect(code, cause);
    }
  }

  /**
   * @param {number} code
   * @param {string} cause
   */
  reconnect(code, cause) {
    const meaning = closeMeaning(code);
    if (meaning.retry === 'never') {
      this.giveUp(meaning.code);
      return;
    }
    if (meaning.retry === 'fresh') this.resumeToken = '';
    if (!this.resumption) { // else this is still the last interruption
      this.down = this.settings.now();
      this.backoff.reset();
    }
    this.resumption = null;
    this.event('session.reconnecting', { session: this.id, cause });
    this.retry();
  }

  /** @param {Error} error */
  failed(error) {
    this.stop('attempt');
    const connecting = this.connecting;
    if (connecting) {
      this.connecting = null;
      this.state = 'idle';
      connecting.reject(error);
      return;
    }
    this.event('session.retry', { attempt: this.backoff.attempts, error: error.message });
    if (isFinal(error)) this.giveUp(/** @type {Refused} */ (error).code);
    else this.retry();
  }

  retry() {
    const delay = this.backoff.next();
    if (this.settings.now() - this.down + delay > this.settings.reconnect.giveUp) {
      this.giveUp('gave_up');
      return;
    }
    this.state = 'waiting';
    this.after('attempt', delay, () => this.attempt());
  }

  /** @param {string} reason */
  giveUp(reason) {
    this.state = 'idle';
    this.end(reason);
  }

  /**
   * Ends the session: its call and its requests end with it.
   * @param {string} reason
   */
  end(reason) {
    this.owner.over();
    this.event('session.ended', { reason, receipts: this.receipts, session: this.id });
    this.stop('refresh');
    this.resumption = null;
    this.forget();
    const pending = this.pending;
    this.pending = [];
    for (const p of pending) p.reject(new NotPossible('the session ended before the request was answered'));
  }

  /** Says goodbye: the server ends the session at once, and its call. */
  close() {
    if (this.state === 'closed') return;
    const socket = this.socket;
    if (this.state === 'up') this.sendReceipt();
    this.state = 'closed';
    for (const t of Object.keys(this.timers)) this.stop(t);
    if (this.begun) this.event('session.ended', { reason: 'closed', receipts: this.receipts, session: this.id });
    const connecting = this.connecting;
    this.connecting = null;
    connecting?.reject(new NotPossible('closed'));
    for (const p of this.pending.splice(0)) p.reject(new NotPossible('closed'));
    if (socket) {
      this.cause = 'closed';
      socket.close(1000);
    }
  }

  /**
   * @param {string} name
   * @param {number} delay in milliseconds
   * @param {() => void} f
   */
  after(name, delay, f) {
    this.stop(name);
    this.timers[name] = setTimeout(() => {
      delete this.timers[name];
      f();
    }, delay);
  }

  /** @param {string} name */
  stop(name) {
    clearTimeout(this.timers[name]);
    delete this.timers[name];
  }

  /**
   * @param {string} kind
   * @param {Attrs} attrs
   */
  event(kind, attrs) {
    this.owner.event(kind, attrs);
  }

  /**
   * @param {string} what
   * @param {Attrs} attrs
   */
  violation(what, attrs) {
    this.event('protocol.violation', { what, ...attrs });
  }
}

/**
 * What is told of a frame that came: never its SDP, tokens or text.
 * @param {Frame} f
 * @param {number} size
 */
function described(f, size) {
  /** @type {Attrs} */
  const attrs = { type: f.type, action: f.action ?? '', size };
  if (f.seq) attrs.seq = f.seq;
  const d = f.data ?? {};
  for (const [key, value] of Object.entries({ request: f.id, room: d.roomId, user: d.userId, reason: d.reason, code: f.type === 'error' ? d.code : '' })) {
    if (value) attrs[key] = String(value);
  }
  if (f.type === 'rtc' && d.callId) attrs.call = String(d.callId);
  if (d.sdp) attrs.sdp_size = String(d.sdp).length;
  return attrs;
}
