// A server of level 0 of the protocol that shares nothing with the Go one: written from docs/protocol.md.
//
//   CALLBENCH_JWT_SECRET=… node server.mjs --kms ws://HOST:PORT/kurento [--listen HOST:PORT] [--users alice,bob]
//
// It prints a line of JSON with its URL when clients may come. Everything is in memory.
import http from 'node:http';
import { parseArgs } from 'node:util';
import { Call } from './call.mjs';
import { Kurento } from './kurento.mjs';
import { Refusal } from './refusal.mjs';
import { userOf } from './token.mjs';
import { accept } from './websocket.mjs';

const MAX_FRAME = 64 << 10; // bytes
const PING_EVERY = 30_000, SILENT = 90_000; // ms
const MOST_WAITING = 1000; // messages of a user
const TIMED_OUT = 4408; // close code

const { values: options } = parseArgs({ options: {
  listen: { type: 'string', default: '127.0.0.1:0' }, kms: { type: 'string' }, users: { type: 'string', default: '' },
} });
const secret = process.env.CALLBENCH_JWT_SECRET;
if (!options.kms || !secret) {
  console.error('--kms and CALLBENCH_JWT_SECRET are needed');
  process.exit(2);
}

/** Who may be called; nobody in the list: everybody. */
const known = new Set(options.users.split(',').filter(Boolean));
const exists = (user) => known.size === 0 || known.has(user);

/** By user: sessions, in the order in which they came; stored messages; what the user shows; when it was last there. */
const users = new Map();
const of = (user) => {
  if (!users.has(user)) users.set(user, { sessions: new Set(), inbox: [], shows: 'online', lastSeen: 0 });
  return users.get(user);
};
const calls = new Set();
const kms = await Kurento.connect(options.kms);

/** Sends a frame to one session of a user, to all, or to all but one. */
function tell(user, frame, to) {
  const text = JSON.stringify(frame);
  for (const s of of(user).sessions) {
    if (!to || (to.except ? s !== to.except : s === to)) s.socket.send(text);
  }
}

/** The user's presence as others see it. */
function presence(user) {
  const u = of(user);
  const online = u.sessions.size > 0 && u.shows === 'online';
  return { type: 'state', data: { userId: user, status: online ? 'online' : 'offline', lastSeen: online ? Date.now() : u.lastSeen } };
}

function announce(user) {
  for (const other of users.keys()) if (other !== user) tell(other, presence(user));
}

/** Delivers a message, or keeps it until its recipient is there. The sender's other sessions get it, too. */
function deliver(message, from) {
  const frame = { type: 'message', data: { ...message, timestamp: Date.now() } };
  const u = of(message.to);
  if (u.sessions.size === 0) {
    if (u.inbox.length >= MOST_WAITING) throw new Refusal('limit_exceeded', 'too many messages wait for this user');
    u.inbox.push(frame);
  }
  tell(message.to, frame);
  if (message.from !== message.to) tell(message.from, frame, from && { except: from });
}

const words = { accepted: (c) => `Call, ${c.seconds} s`, declined: () => 'Call declined', cancelled: () => 'Missed call', missed: () => 'Missed call' };

/** What became of a call is a message of the conversation. */
function over(call, outcome) {
  deliver({ from: call.caller, to: call.callee, content: words[outcome](call) });
  setTimeout(() => calls.delete(call), 60_000).unref(); // until then confirmations may come
}

const text = (data, key) => {
  if (typeof data[key] !== 'string' || data[key] === '') throw new Refusal('bad_data', `${key} is missing or no text`);
  return data[key];
};

/** The call that a frame is about: the one that it names, or the one that the user is in. */
function callOf(session, data) {
  const mine = [...calls].filter((c) => c.has(session.user));
  const found = data.roomId ? mine.find((c) => c.room === data.roomId) : mine.find((c) => c.state !== 'ended') ?? mine.findLast((c) => c.sessionOf(session.user) === session);
  if (!found) throw new Refusal('no_such_call', 'there is no such call');
  return found;
}

const rtc = {
  async call(session, data) {
    const callee = text(data, 'targetUser');
    if (callee === session.user) throw new Refusal('bad_data', 'nobody calls himself');
    if ([...calls].some((c) => c.holds(session.user))) throw new Refusal('busy', 'you are in a call');
    if (!exists(callee)) throw new Refusal('user_unavailable', 'the user cannot be reached');
    if (of(callee).sessions.size === 0) {
      of(callee).inbox.push({ type: 'message', data: { from: session.user, to: callee, content: words.missed(), timestamp: Date.now() } });
      throw new Refusal('user_unavailable', 'the user cannot be reached');
    }
    if ([...calls].some((c) => c.holds(callee))) throw new Refusal('busy', 'the user is in another call');
    const call = new Call(session.user, callee, session, { kms, tell, over });
    calls.add(call);
    await call.do(() => call.start());
  },
  async answer(session, data) {
    const call = callOf(session, data);
    await call.do(() => call.answer(session.user, session));
  },
  async join(session, data) { await rtc.answer(session, data); },
  async offer(session, data) {
    const call = callOf(session, data);
    await call.do(() => call.offer(session.user, text(data, 'sdp')));
  },
  async candidate(session, data) {
    const call = callOf(session, data);
    await call.do(() => call.candidate(session.user, data));
  },
  async leave(session, data) {
    const call = callOf(session, data);
    await call.do(() => call.leave(session.user));
  },
};

const handlers = {
  async rtc(session, frame) {
    const handle = rtc[frame.action];
    if (!Object.hasOwn(rtc, frame.action)) throw new Refusal('unknown_action', 'this action is not known');
    const data = frame.data ?? frame; // the document shows fields beside action as well
    if (data.userId && data.userId !== session.user) throw new Refusal('forbidden', 'you are somebody else');
    await handle(session, data);
  },
  async message(session, { data }) {
    const to = text(data, 'to'), content = text(data, 'content');
    if (data.from && data.from !== session.user) throw new Refusal('forbidden', 'you are somebody else');
    if (!exists(to)) throw new Refusal('user_unavailable', 'the user cannot be reached');
    deliver({ from: session.user, to, content }, session);
  },
  async state(session, { data }) {
    if (data.status === undefined) {
      const user = text(data, 'userId');
      if (!exists(user)) throw new Refusal('user_unavailable', 'the user cannot be reached');
      tell(session.user, presence(user), session);
      return;
    }
    if (data.userId && data.userId !== session.user) throw new Refusal('forbidden', 'you are somebody else');
    if (data.status !== 'online' && data.status !== 'offline') throw new Refusal('bad_data', 'a status is online or offline');
    const u = of(session.user);
    if (u.shows === data.status) return;
    Object.assign(u, { shows: data.status, lastSeen: Date.now() });
    announce(session.user);
  },
};

function parsed(message) {
  let frame;
  try {
    frame = JSON.parse(message);
  } catch {
    throw new Refusal('bad_frame', 'not JSON');
  }
  if (typeof frame?.type !== 'string') throw new Refusal('bad_frame', 'type is missing');
  if (!Object.hasOwn(handlers, frame.type)) throw new Refusal('unknown_type', 'this type is not known');
  if (frame.type !== 'rtc' && (typeof frame.data !== 'object' || frame.data === null)) throw new Refusal('bad_data', 'data is missing');
  return frame;
}

/** One connection of a user. Its frames are done in the order in which they came. */
class Session {
  #work = Promise.resolve(); #begun = false;

  constructor(user, socket) {
    Object.assign(this, { user, socket });
    let heard = Date.now();
    const alive = () => { heard = Date.now(); this.#begin(); };
    const beat = setInterval(() => (Date.now() - heard > SILENT ? socket.close(TIMED_OUT) : socket.ping()), PING_EVERY);
    socket.on('text', (message) => { heard = Date.now(); this.#do(message); });
    socket.on('binary', () => this.#error(new Refusal('bad_frame', 'a frame is text')));
    socket.on('ping', alive);
    socket.on('pong', alive);
    socket.on('close', () => { clearInterval(beat); this.#end(); });
    setTimeout(alive, 1000).unref(); // one that says nothing is there, too
  }

  #do(message) {
    this.#work = this.#work.then(async () => {
      try {
        const frame = parsed(message);
        this.#begin();
        await handlers[frame.type](this, frame);
      } catch (e) {
        this.#error(e);
      }
      this.#begin(); // also for who said hello, which this server does not know
    });
  }

  #error(e) {
    const refused = e instanceof Refusal;
    if (!refused) console.error(e);
    this.socket.send(JSON.stringify({ type: 'error', data: { code: refused ? e.code : 'media_failed', message: refused ? e.message : 'it could not be done' } }));
  }

  /** From now on the user is there: what waited for it comes first. */
  #begin() {
    if (this.#begun || this.socket.ended) return;
    this.#begun = true;
    const u = of(this.user);
    u.sessions.add(this);
    for (const frame of u.inbox.splice(0)) this.socket.send(JSON.stringify(frame));
    if (u.sessions.size === 1) {
      u.shows = 'online';
      announce(this.user);
    }
  }

  /** The end of a connection is that of its call. */
  #end() {
    this.#work = this.#work.then(async () => {
      const u = of(this.user);
      u.sessions.delete(this);
      for (const call of calls) {
        const mine = call.sessionOf(this.user) === this;
        const rings = call.holds(this.user) && !call.sessionOf(this.user) && u.sessions.size === 0;
        if (mine || rings) await call.do(() => call.leave(this.user)).catch((e) => console.error(e));
      }
      if (this.#begun && u.sessions.size === 0) {
        u.lastSeen = Date.now();
        announce(this.user);
      }
    });
  }
}

const web = http.createServer((request, response) => response.writeHead(404).end());
web.on('upgrade', (request, socket, head) => {
  const refuse = (status) => socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  if (new URL(request.url, 'http://x').pathname !== '/ws') return refuse('404 Not Found');
  const user = userOf(request.headers.authorization, secret);
  if (!user || !exists(user)) return refuse('401 Unauthorized');
  return new Session(user, accept(request, socket, head, MAX_FRAME));
});
const [host, port] = options.listen.split(':');
web.listen(Number(port), host, () => {
  const at = web.address();
  console.log(JSON.stringify({ url: `ws://${at.address}:${at.port}/ws` }));
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0));
process.stdin.on('end', () => process.exit(0)).resume(); // whoever started it has gone
