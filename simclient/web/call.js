// @ts-check
// What a client knows of the call or the room that it is in.

/** @typedef {import('./types.d.ts').Member} Member */
/** @typedef {import('./leg.js').Leg} Leg */
/** @typedef {'dialing'|'outgoing'|'ringing'|'incoming'|'accepting'|'accepted'|'connected'|'leaving'} CallState */
/**
 * What makes a call a stay in a room of several members.
 * @typedef {object} Stay
 * @property {string} type mcu or broadcast
 * @property {string} role publisher or subscriber
 * @property {Member[]} members who is in, this client too
 * @property {(() => void)[]} early what came before the acknowledgement that says who is in
 */

/** The call that the client is in, or the room: of those it is in one. */
export class Call {
  /** @param {{id?: string, room?: string, peer?: string, state: CallState, outgoing?: boolean, stay?: Stay | null, known?: boolean}} from */
  constructor(from) {
    this.id = from.id ?? '';
    this.room = from.room ?? '';
    this.peer = from.peer ?? '';
    this.state = from.state;
    this.outgoing = from.outgoing ?? false;
    this.stay = from.stay ?? null; // null in a call
    this.known = from.known ?? false; // the events tell of it
    this.answered = false;
    this.left = ''; // the reason of a call that is leaving
    /** @type {{action: string, resolve: () => void, reject: (e: unknown) => void} | null} */
    this.quit = null; // who waits to leave a call that is still dialing
    this.renew = false; // its leg is made anew once the signaling connection is known to live
    this.anew = false; // a leg was made anew because the one before got no relayed candidate
    /** @type {Leg | null} */
    this.leg = null;
    this.legs = 0;
    /** @type {Leg[]} */
    this.offers = []; // sent and not answered yet, the oldest first
    /** @type {import('./media.js').Sending | null} */
    this.sending = null;
  }

  /** What events call it: its id, or in a room of several members the room. */
  get name() {
    return this.id || this.room;
  }

  get ref() {
    return { ...(this.room && { roomId: this.room }), ...(this.id && { callId: this.id }) };
  }

  /** Whether media is sent: everybody sends in a call, and publishers in a room. */
  get sends() {
    return !this.stay || this.stay.role === 'publisher';
  }

  /** Whether media comes: who publishes a broadcast gets none. */
  get receives() {
    return !this.stay || this.stay.type !== 'broadcast' || this.stay.role !== 'publisher';
  }

  /** What the server will call it if the client leaves now. */
  get leaveReason() {
    if (this.answered) return 'hangup';
    return this.outgoing ? 'cancelled' : 'declined';
  }

  /**
   * Whether a frame is about this call: by its call id, and by its room if it has none.
   * @param {{callId?: string, roomId?: string}} rtc
   */
  is(rtc) {
    if (!rtc.callId || !this.id) return !!rtc.roomId && rtc.roomId === this.room;
    return rtc.callId === this.id;
  }

  /**
   * Whether the call, as far as this side knows, may be left so.
   * @param {string} action
   */
  leftBy(action) {
    if (action === 'reject' || action === 'busy') return this.state === 'incoming';
    if (action === 'cancel') return this.outgoing && !this.answered;
    return true;
  }
}
