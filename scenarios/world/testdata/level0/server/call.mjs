// A call between two users, by the numbered steps of the design.
import { randomUUID } from 'node:crypto';
import { Refusal } from './refusal.mjs';
import { candidate, pinned } from './sdp.mjs';

const RINGS = 60_000, CONFIRM_WITHIN = 5_000; // ms
const MOST_CANDIDATES = 64; // of one member

/**
 * A call. What happens to it happens one after the other. `tell(user, frame, session)` sends to one session of a
 * user, or to all; `over(call, outcome)` learns the end.
 */
export class Call {
  room = randomUUID();
  state = 'ringing';
  #kms; #tell; #over; #pipeline; #members = new Map(); #work = Promise.resolve(); #ring;

  constructor(caller, callee, session, { kms, tell, over }) {
    Object.assign(this, { caller, callee });
    this.#kms = kms;
    this.#tell = tell;
    this.#over = over;
    this.#member(caller, session);
  }

  /** Runs what is done to the call behind all that is done to it already. */
  do(work) {
    const done = this.#work.then(work);
    this.#work = done.catch(() => {});
    return done;
  }

  has(user) { return user === this.caller || user === this.callee; }

  /** Whether the user cannot have another call: it is in this one, or it rings. */
  holds(user) { return this.has(user) && this.state !== 'ended'; }

  /** The session that a user is in the call with; undefined while it rings. */
  sessionOf(user) { return this.#members.get(user)?.session; }

  #member(user, session) {
    const m = { user, session, early: [], candidates: 0, offered: false, out: false };
    this.#members.set(user, m);
    return m;
  }

  other(user) { return user === this.caller ? this.callee : this.caller; }

  /** Steps 4 to 8: pipeline, the caller's endpoint, the invitation. */
  async start() {
    this.#pipeline = await this.#kms.create('MediaPipeline', {});
    await this.#endpoint(this.#members.get(this.caller));
    if (this.state !== 'ringing') return;
    this.#ring = setTimeout(() => this.do(() => this.end()).catch(() => {}), RINGS);
    this.#tell(this.callee, { type: 'rtc_invite', data: { roomId: this.room, from: this.caller, expire: RINGS / 1000 } });
  }

  async #endpoint(member) {
    member.endpoint = await this.#kms.create('WebRtcEndpoint', { mediaPipeline: this.#pipeline });
    await this.#kms.on(member.endpoint, 'IceCandidateFound', ({ candidate: c }) => {
      this.#tell(member.user, { type: 'rtc', action: 'candidate', data: { roomId: this.room, ...c } }, member.session);
    });
  }

  /** Steps 10 to 14: the callee comes in, on the first of its devices that answers. */
  async answer(user, session) {
    if (this.state === 'active' && this.sessionOf(user) === session) return; // again
    if (user !== this.callee || this.state === 'ended') throw new Refusal('no_such_call', 'there is no such call');
    if (this.state !== 'ringing') throw new Refusal('bad_state', 'another device has answered');
    clearTimeout(this.#ring);
    this.state = 'active';
    this.answeredAt = Date.now();
    const callee = this.#member(user, session), caller = this.#members.get(this.caller);
    await this.#endpoint(callee);
    await this.#kms.invoke(caller.endpoint, 'connect', { sink: callee.endpoint });
    await this.#kms.invoke(callee.endpoint, 'connect', { sink: caller.endpoint });
    this.#tell(this.caller, { type: 'rtc', action: 'answer', data: { roomId: this.room, userId: user } }, caller.session);
    this.#tell(user, this.#leave(user), { except: session });
  }

  /** Steps 15 to 18, and 21 to 23: an offer is answered, then candidates are gathered. */
  async offer(user, sdp) {
    const m = this.#inside(user);
    if (this.state !== 'active') throw new Refusal('bad_state', 'the call is not answered');
    const clean = pinned(sdp);
    if (m.offered) throw new Refusal('bad_state', 'a leg is not made anew');
    const answer = await this.#kms.invoke(m.endpoint, 'processOffer', { offer: clean });
    m.offered = true;
    this.#tell(user, { type: 'rtc', action: 'answer', data: { roomId: this.room, sdp: answer } }, m.session);
    for (const c of m.early.splice(0)) await this.#add(m, c);
    await this.#kms.invoke(m.endpoint, 'gatherCandidates', {});
  }

  /** Steps 19 and 20, 24 and 25. What comes before its offer waits for it. */
  async candidate(user, data) {
    const m = this.#inside(user);
    const c = { candidate: candidate(data.candidate), sdpMid: data.sdpMid ?? '', sdpMLineIndex: data.sdpMLineIndex ?? 0 };
    if (c.candidate === '') return;
    if (++m.candidates > MOST_CANDIDATES) throw new Refusal('invalid_candidate', 'too many of them');
    if (m.offered) await this.#add(m, c);
    else m.early.push(c);
  }

  async #add(member, c) {
    await this.#kms.invoke(member.endpoint, 'addIceCandidate', { candidate: { ...c, __module__: 'kurento', __type__: 'IceCandidate' } });
  }

  #inside(user) {
    const m = this.#members.get(user);
    if (!m || m.out || this.state === 'ended') throw new Refusal('no_such_call', 'there is no such call');
    return m;
  }

  #leave(by) { return { type: 'rtc', action: 'leave', data: { roomId: this.room, ...(by && { userId: by }) } }; }

  /** Steps 27 to 33: a user leaves, declines, cancels, or confirms the end. */
  async leave(user) {
    if (this.state !== 'ended') await this.end(user);
    else if (this.#members.get(user)) await this.#out(this.#members.get(user));
  }

  /** Ends the call, by a user or by nobody. Who did not leave is told, and confirms. */
  async end(by) {
    if (this.state === 'ended') return;
    const answered = this.state === 'active';
    this.state = 'ended';
    clearTimeout(this.#ring);
    for (const user of [this.caller, this.callee]) {
      if (user !== by) this.#tell(user, this.#leave(by), this.sessionOf(user));
    }
    if (by === this.callee && !answered) this.#tell(by, this.#leave(by)); // its other devices ring no more
    this.#over(this, answered ? 'accepted' : by === this.callee ? 'declined' : by === this.caller ? 'cancelled' : 'missed');
    if (by && this.#members.get(by)) await this.#out(this.#members.get(by));
    if (this.#left()) return;
    setTimeout(() => this.do(() => this.#release()).catch(() => {}), CONFIRM_WITHIN);
  }

  #left() { return [...this.#members.values()].every((m) => m.out); }

  async #out(member) {
    if (member.out) return;
    member.out = true;
    if (!this.#left()) await this.#kms.release(member.endpoint);
    else await this.#release();
  }

  /** Releases everything, at the latest some time after the end. */
  async #release() {
    const pipeline = this.#pipeline;
    this.#pipeline = undefined;
    for (const m of this.#members.values()) m.out = true;
    if (pipeline) await this.#kms.release(pipeline); // and with it what is in it
  }

  /** The length of the conversation, in whole seconds. */
  get seconds() { return this.answeredAt ? Math.floor((Date.now() - this.answeredAt) / 1000) : 0; }
}
