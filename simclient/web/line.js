// @ts-check
// The one line of a client: the call or room that it is in, from dialing to its end.

import { Call } from './call.js';
import { Leg } from './leg.js';
import { Sending } from './media.js';
import { NotPossible, Refused } from './wire.js';

/** @typedef {import('./types.d.ts').Attrs} Attrs */
/** @typedef {import('./types.d.ts').RTC} RTC */
/** @typedef {import('./types.d.ts').Settings} Settings */
/** @typedef {import('./session.js').Session} Session */

const rememberedCalls = 16;
const noCall = () => new NotPossible('there is no such call');

export class Line {
  /**
   * @param {Settings} settings
   * @param {Session} session
   * @param {import('./servers.js').Servers} servers
   * @param {(kind: string, attrs: Attrs) => void} event
   */
  constructor(settings, session, servers, event) {
    this.settings = settings;
    this.session = session;
    this.servers = servers;
    this.emit = event;
    /** @type {Call | null} */
    this.call = null;
    /** @type {string[]} */
    this.over = []; // the names of the calls that ended last
    this.muted = new Set();
  }

  /**
   * Tells an event that belongs to a call, if there is one.
   * @param {Call | null} call
   * @param {string} kind
   * @param {Attrs} [attrs]
   */
  event(call, kind, attrs = {}) {
    this.emit(kind, call?.name ? { call: call.name, ...attrs } : attrs);
  }

  /**
   * @param {Call | null} call
   * @param {string} what
   * @param {Attrs} [attrs]
   */
  violation(call, what, attrs = {}) {
    this.event(call, 'protocol.violation', { what, ...attrs });
  }

  /**
   * @param {Call} call
   * @param {string} doing
   * @param {unknown} error
   */
  failure(call, doing, error) {
    this.event(call, 'client.failure', { doing, error: String(error) });
  }

  /**
   * @param {Call | null} call
   * @param {string} action
   * @param {object} data
   * @param {Leg} [leg]
   */
  ask(call, action, data, leg) {
    return this.session.request('rtc', action, data, { call, leg });
  }

  /**
   * Is a request whose refusal is only told as an event.
   * @param {Call} call
   * @param {string} action
   */
  tell(call, action) {
    this.ask(call, action, call.ref).catch(() => {});
  }

  /**
   * A refusal is no news if the call has ended here too, or its leg was replaced.
   * @param {any} about
   * @param {Refused} error
   * @returns {boolean}
   */
  moot(about, error) {
    if (!about?.call || (error.code !== 'no_such_call' && error.code !== 'bad_state')) return false;
    return about.call !== this.call || (about.leg && about.leg !== about.call.leg);
  }

  /**
   * Asks for a call even if there is one: refusing it is the server's business.
   * @param {string} target
   */
  async start(target) {
    const call = new Call({ peer: target, outgoing: true, state: 'dialing' });
    await this.dial(call, () => this.ask(null, 'call', { targetUser: target }), (ack) => {
      if (this.over.includes(ack.callId ?? '')) return; // it ended before its acknowledgement came
      if (this.call && this.call !== call) {
        this.violation(this.call, 'second_call', { room: ack.roomId ?? '' });
        return;
      }
      this.call = call;
      this.identify(call, ack.callId ?? '', ack.roomId ?? '');
    });
  }

  /**
   * Asks for a call or a room, and takes what the server says of it.
   * @param {Call} call
   * @param {() => Promise<RTC>} ask
   * @param {(ack: RTC) => void} take
   */
  async dial(call, ask, take) {
    if (!this.call && this.session.begun) this.call = call;
    try {
      take(await ask());
    } catch (e) {
      if (this.call === call) this.finish(call, e instanceof Refused ? e.code : 'internal', '');
      call.quit?.reject(e);
      throw e;
    } finally {
      const quit = call.quit;
      call.quit = null;
      if (quit) {
        if (this.call === call) this.leave(call, quit.action).then(quit.resolve, quit.reject);
        else quit.resolve();
      }
    }
  }

  /**
   * Names a call that the server made: as the acknowledgement says, or after a
   * resume what comes before it.
   * @param {Call} call
   * @param {string} id
   * @param {string} room
   */
  identify(call, id, room) {
    if (call.state !== 'dialing') {
      if (call.id !== id) this.violation(call, 'call_id_changed', { to: id });
      return;
    }
    Object.assign(call, { id, room, state: 'outgoing', known: true });
    this.event(call, 'call.outgoing', { to: call.peer, room });
  }

  /** @param {RTC & {from: string, expire: number}} inv */
  invited(inv) {
    const k = this.call;
    if (k) {
      if (k.id && k.id === inv.callId) return; // a server that was started again asks once more
      if (k.state === 'leaving') this.finish(k, k.left, this.session.user);
      else if (!k.name || (k.stay && k.state === 'dialing')) this.finish(k, 'busy', ''); // will be refused: the server had made the other one before
      else {
        this.violation(k, 'invited_in_call', { room: inv.roomId ?? '', from: inv.from });
        return;
      }
    }
    const call = new Call({ id: inv.callId, room: inv.roomId, peer: inv.from, state: 'incoming', known: true });
    this.call = call;
    this.event(call, 'call.incoming', { room: call.room, from: call.peer });
    if (!this.settings.manualRing && inv.expire > 0) this.tell(call, 'ringing'); // else it is too late, and the end is on its way
  }

  async ring() {
    if (this.call?.state !== 'incoming') throw noCall();
    await this.ask(this.call, 'ringing', this.call.ref);
  }

  async accept() {
    if (this.call?.state !== 'incoming') throw noCall();
    await this.acceptBy(this.call, 'answer', this.call.ref);
  }

  /**
   * @param {Call} call
   * @param {string} action
   * @param {object} data
   */
  async acceptBy(call, action, data) {
    call.state = 'accepting';
    try {
      await this.ask(call, action, data);
    } catch (e) {
      if (call.state === 'accepting') call.state = 'incoming';
      throw e;
    }
    if (this.call === call && call.state === 'accepting') this.accepted(call, this.session.user);
  }

  /**
   * Sets up media, on either side.
   * @param {Call} call
   * @param {string} by
   */
  accepted(call, by) {
    call.answered = true;
    call.state = 'accepted';
    this.event(call, 'call.accepted', { user: by });
    this.newLeg(call);
  }

  /**
   * Comes into a room: by accepting, if it is the ringing call's.
   * @param {string} room
   * @param {{type?: string, role?: string}} options
   */
  async join(room, options) {
    const k = this.call;
    const name = room || k?.room;
    if (!name) throw noCall();
    if (k?.state === 'incoming' && k.room === name) return this.acceptBy(k, 'join', { roomId: name });
    const data = { roomId: name, ...(options.type && { roomType: options.type }), ...(options.role && { role: options.role }) };
    if (k?.room === name) return this.ask(k, 'join', data).then(() => {});
    const call = new Call({ room: name, state: 'dialing', stay: { type: options.type ?? '', role: options.role ?? '', members: [], early: [] } });
    await this.dial(call, () => this.ask(null, 'join', data), (ack) => this.entered(call, ack));
  }

  /**
   * @param {Call} call
   * @param {RTC} ack
   */
  entered(call, ack) {
    const stay = /** @type {import('./call.js').Stay} */ (call.stay);
    if (this.call !== call) {
      if (this.call) this.violation(this.call, 'second_call', { room: call.room });
      return;
    }
    stay.type = ack.roomType ?? stay.type;
    stay.role = ack.role ?? stay.role;
    stay.members = [...(ack.members ?? [])];
    Object.assign(call, { known: true, answered: true, state: 'accepted' });
    /** @type {Attrs} */
    const attrs = { type: stay.type, role: stay.role, members: stay.members.length, who: stay.members.map((m) => `${m.userId}=${m.role}`).join(' ') };
    if (ack.recording) attrs.recording = ack.recording;
    this.event(call, 'room.entered', attrs);
    for (const f of stay.early.splice(0)) f();
    if (this.call === call && !call.quit) this.newLeg(call);
  }

  /**
   * Leaves the call by leave, reject, busy or cancel.
   * @param {string} action
   * @returns {Promise<void>}
   */
  async quit(action) {
    const k = this.call;
    if (!k || k.state === 'leaving' || k.quit) throw noCall();
    if (k.state === 'dialing') { // as soon as the server has made it
      return new Promise((resolve, reject) => {
        k.quit = { action, resolve, reject };
      });
    }
    if (k.leftBy(action)) return this.leave(k, action);
    await this.ask(k, action, k.ref); // the call goes on unless the server agrees
    if (this.call === k) this.finish(k, k.leaveReason, this.session.user);
  }

  /**
   * Stops media at once and tells the server.
   * @param {Call} call
   * @param {string} action
   */
  async leave(call, action) {
    call.left = action === 'busy' ? 'busy' : call.leaveReason;
    call.state = 'leaving';
    this.closeMedia(call);
    /** @type {unknown} */
    let error;
    try {
      await this.ask(call, action, call.ref);
    } catch (e) {
      error = e;
    }
    if (this.call === call) this.finish(call, call.left, this.session.user);
    else if (error instanceof Refused) return; // the other side was faster, and the call is over as it should be
    if (error) throw error;
  }

  /**
   * Ends the call at this side.
   * @param {Call} call
   * @param {string} reason
   * @param {string} by
   */
  finish(call, reason, by) {
    this.closeMedia(call);
    this.call = null;
    if (!call.known) return; // there never was a call, as its request will tell
    this.over.push(call.name);
    if (this.over.length > rememberedCalls) this.over.shift();
    /** @type {Attrs} */
    const attrs = { reason, level: 1 };
    if (by) attrs.by = by;
    this.event(call, call.stay ? 'room.ended' : 'call.ended', attrs);
  }

  /** @param {Call} call */
  closeMedia(call) {
    call.leg?.close();
    call.leg = null;
    call.sending?.stop();
    call.sending = null;
  }

  /**
   * Makes the call's leg, in place of the last one, and sends its offer.
   * @param {Call} call
   */
  async newLeg(call) {
    call.renew = false;
    call.leg?.close();
    call.leg = null;
    call.legs++;
    call.state = 'accepted';
    const n = call.legs;
    const current = () => this.call === call && call.legs === n && call.state !== 'leaving';
    try {
      call.sending ??= new Sending(this, call);
      await call.sending.capture();
      if (!current()) return;
      const ice = await this.servers.fresh(call);
      if (!current()) return;
      const leg = new Leg(this, call, ice);
      call.leg = leg;
      await leg.offer();
    } catch (e) {
      if (current()) this.failure(call, 'make offer', e);
    }
  }

  /**
   * Replaces the leg because the server or this client wants to.
   * @param {Call} call
   * @param {string} reason
   * @param {string} from
   */
  renew(call, reason, from) {
    this.event(call, 'call.negotiate', { reason, from, leg: call.legs + 1 });
    this.newLeg(call);
  }

  /**
   * Makes a leg anew that lost its media for good, once the server is known to be there.
   * @param {Call} call
   */
  mediaLost(call) {
    call.renew = true;
    this.session.probe();
  }

  /** The server has answered a probe. */
  alive() {
    const k = this.call;
    if (k?.renew) this.renew(k, 'ice_failed', 'client');
  }

  /**
   * Compares the call that a resumed session is in with this side's, before the
   * replay begins.
   * @param {import('./types.d.ts').CallRef | undefined} ref
   */
  recognize(ref) {
    const k = this.call;
    this.had = k;
    if (k && ref && k.state === 'dialing' && !k.stay && k.peer === ref.peer) this.identify(k, ref.callId ?? '', ref.roomId);
  }

  /**
   * The same once everything missed is known.
   * @param {import('./types.d.ts').CallRef | undefined} ref
   */
  compare(ref) {
    const k = this.call;
    if (!k || k !== this.had || k.state === 'dialing' || k.state === 'leaving') return;
    if (k.stay ? k.room === ref?.roomId : k.id === ref?.callId) return;
    this.violation(k, 'call_lost');
    this.finish(k, 'dropped', '');
  }

  /** The session is over, and the call with it. */
  drop() {
    if (this.call) this.finish(this.call, 'dropped', '');
  }

  /**
   * Takes a push about a call.
   * @param {string} action
   * @param {RTC} rtc
   */
  push(action, rtc) {
    const k = this.call;
    if (k?.is(rtc)) {
      if (k.state !== 'leaving' || action === 'ended') this.pushed(k, action, rtc);
      return;
    }
    const name = rtc.callId || rtc.roomId || '';
    if (this.over.includes(name)) {
      if (action === 'ended') this.violation(null, 'ended_twice', { call: name, reason: rtc.reason ?? '' });
    } else if (k?.state === 'dialing' && !k.stay && this.session.resumption) {
      // The acknowledgement was lost with the last connection; the replay comes before the repeated request's.
      this.identify(k, rtc.callId ?? '', rtc.roomId ?? '');
      this.pushed(k, action, rtc);
    } else {
      this.violation(null, 'unknown_call', { call: name, action });
    }
  }

  /**
   * @param {Call} k
   * @param {string} action
   * @param {RTC} rtc
   */
  pushed(k, action, rtc) {
    const user = rtc.userId ?? '';
    switch (action) {
      case 'ringing':
        if (k.state === 'outgoing') k.state = 'ringing';
        return this.event(k, 'call.ringing', { user });
      case 'answer':
        return this.onAnswer(k, rtc);
      case 'candidate':
        return k.leg?.remoteCandidates(rtc);
      case 'ended':
        return this.onEnded(k, rtc);
      case 'negotiate':
        if (!k.answered) return this.violation(k, 'unasked_answer', { reason: rtc.reason ?? '' });
        return this.renew(k, rtc.reason ?? '', 'server');
      case 'reconnecting':
      case 'reconnected':
        return this.event(k, `call.${action}`, { user });
      case 'recording':
        return this.event(k, 'room.recording', { state: rtc.recording ?? '', recording: rtc.recordingId ?? '' });
      case 'joined':
      case 'left':
      case 'role':
        return this.ofRoom(k, action, rtc);
      default:
        return this.violation(k, 'unknown_type', { type: 'rtc', action });
    }
  }

  /**
   * Takes either of the two answers: the callee's, which has no SDP, and the media server's.
   * @param {Call} k
   * @param {RTC} rtc
   */
  onAnswer(k, rtc) {
    if (rtc.sdp) {
      const leg = k.offers.shift();
      if (!leg) this.violation(k, 'unasked_answer');
      else if (leg === k.leg) leg.answer(rtc.sdp);
    } else if (k.outgoing && !k.answered) {
      this.accepted(k, rtc.userId ?? '');
    } else {
      this.violation(k, 'accepted_twice', { user: rtc.userId ?? '' });
    }
  }

  /**
   * Ends the call and confirms, unless this side has left too.
   * @param {Call} k
   * @param {RTC} rtc
   */
  onEnded(k, rtc) {
    if (k.stay && k.state === 'dialing') { // it was let in, as the acknowledgement will say that was missed
      k.stay.early.push(() => this.onEnded(k, rtc));
      return;
    }
    const left = k.state === 'leaving';
    this.finish(k, rtc.reason ?? '', rtc.userId ?? '');
    if (!left && !k.stay) this.tell(k, 'leave');
  }

  /**
   * Takes a push that only a room of several members has.
   * @param {Call} k
   * @param {string} action
   * @param {RTC} rtc
   */
  ofRoom(k, action, rtc) {
    const stay = k.stay;
    if (!stay) return this.violation(k, 'not_in_a_room', { action });
    if (k.state === 'dialing') {
      stay.early.push(() => this.ofRoom(k, action, rtc));
      return;
    }
    const user = rtc.userId ?? '';
    const role = rtc.role ?? '';
    const member = stay.members.find((m) => m.userId === user);
    switch (action) {
      case 'joined':
        if (!member) stay.members.push({ userId: user, role });
        return this.event(k, 'room.joined', { user, role, members: stay.members.length });
      case 'left':
        stay.members = stay.members.filter((m) => m !== member);
        return this.event(k, 'room.left', { user, reason: rtc.reason ?? '', members: stay.members.length });
      default: // role; if it is this client's own, a negotiate follows
        if (member) member.role = role;
        if (user === this.session.user) stay.role = role;
        return this.event(k, 'room.role', { user, role });
    }
  }

  /**
   * Mutes one kind of media, or ends that; it holds for later calls, too.
   * @param {'audio'|'video'} kind
   * @param {boolean} on
   */
  async mute(kind, on) {
    if (on) this.muted.add(kind);
    else this.muted.delete(kind);
    await this.call?.sending?.apply();
    this.event(this.call, 'media.muted', { media: kind, muted: on });
  }
}
