// @ts-check
// One RTCPeerConnection of a call. The media server cannot restart ICE, so a call
// whose connection is lost for good goes on with a new leg.

import { sample } from './stats.js';

/** @typedef {import('./types.d.ts').Attrs} Attrs */
/** @typedef {import('./types.d.ts').RTC} RTC */
/** @typedef {import('./types.d.ts').IceServer} IceServer */
/** @typedef {import('./types.d.ts').Candidate} Candidate */
/** @typedef {import('./call.js').Call} Call */
/** @typedef {import('./line.js').Line} Line */

export class Leg {
  /**
   * @param {Line} line
   * @param {Call} call
   * @param {IceServer[]} iceServers
   */
  constructor(line, call, iceServers) {
    this.line = line;
    this.call = call;
    this.n = call.legs;
    this.settings = line.settings;
    this.answered = false;
    this.connected = false;
    /** @type {Candidate[]} */
    this.waiting = []; // until the answer is set
    this.gathered = 0;
    this.relayed = 0;
    this.remote = 0;
    this.pair = '';
    this.dtls = '';
    /** @type {Promise<unknown>} */
    this.outgoing = Promise.resolve(); // candidates are looked at, and sent, in their order
    /** @type {Promise<unknown>} */
    this.incoming = Promise.resolve();
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.sampling = undefined;
    this.pc = new this.settings.RTCPeerConnection({
      ...this.settings.rtc, iceServers, ...(this.settings.relay && { iceTransportPolicy: 'relay' }),
    });
    call.sending?.layOut(this.pc);
    this.watch();
  }

  watch() {
    const { pc } = this;
    pc.onicecandidate = (e) => this.ifCurrent(() => this.localCandidate(e.candidate));
    pc.onicecandidateerror = (e) => this.ifCurrent(() => this.event('ice.error', { code: e.errorCode, text: e.errorText, url: e.url }));
    pc.onicegatheringstatechange = () => this.ifCurrent(() => this.event('ice.gathering', { state: pc.iceGatheringState }));
    pc.oniceconnectionstatechange = () => this.ifCurrent(() => this.onICE());
    pc.onconnectionstatechange = () => this.ifCurrent(() => this.onState());
    pc.ontrack = (e) => this.ifCurrent(() => {
      this.line.emit('track', { call: this.call.name, media: e.track.kind, leg: this.n, track: e.track, streams: e.streams });
    });
  }

  /** @param {() => void} f */
  ifCurrent(f) {
    if (this.call.leg === this) f();
  }

  /**
   * @param {string} kind
   * @param {Attrs} [attrs]
   */
  event(kind, attrs = {}) {
    this.line.event(this.call, kind, { ...attrs, leg: this.n });
  }

  /** Makes the offer and sends it; gathering begins. */
  async offer() {
    await this.pc.setLocalDescription();
    if (this.call.leg !== this) return;
    this.watchTransport();
    this.call.offers.push(this);
    const sdp = this.pc.localDescription?.sdp ?? '';
    this.line.ask(this.call, 'offer', { ...this.call.ref, sdp }, this).catch(() => {
      this.call.offers = this.call.offers.filter((o) => o !== this);
    });
  }

  /** Follows the one transport that all media shares. */
  watchTransport() {
    const dtls = this.pc.getTransceivers()[0]?.sender.transport;
    if (!dtls || !dtls.iceTransport) return;
    dtls.onstatechange = () => this.ifCurrent(() => {
      if (dtls.state !== this.dtls) this.event('dtls.state', { state: (this.dtls = dtls.state) });
    });
    dtls.iceTransport.onselectedcandidatepairchange = () => this.ifCurrent(() => this.onPair(dtls.iceTransport));
  }

  /** @param {RTCIceTransport} ice */
  onPair(ice) {
    const pair = ice.getSelectedCandidatePair?.();
    if (!pair?.local || !pair.remote) return;
    const name = `${pair.local.candidate} ${pair.remote.candidate}`;
    if (name === this.pair) return;
    this.pair = name;
    this.event('ice.pair', { local_type: pair.local.type ?? '', remote_type: pair.remote.type ?? '', protocol: pair.local.protocol ?? '' });
  }

  /**
   * Sets the media server's answer, and the candidates that came before it.
   * @param {string} sdp
   */
  async answer(sdp) {
    try {
      await this.pc.setRemoteDescription({ type: 'answer', sdp });
    } catch (e) {
      this.ifCurrent(() => this.line.failure(this.call, 'set answer', e));
      return;
    }
    this.answered = true;
    for (const c of this.waiting.splice(0)) this.add(c);
  }

  /** @param {RTCIceCandidate | null} candidate null says that there are no more */
  localCandidate(candidate) {
    if (candidate && candidate.candidate === '') return; // the end of one generation; null comes behind it
    if (candidate) {
      this.gathered++;
      if (candidate.type === 'relay') this.relayed++;
    } else {
      this.event('ice.gathered', { candidates: this.gathered, relay: this.relayed });
    }
    /** @type {Candidate} */
    const init = candidate ? { ...candidate.toJSON(), candidate: candidate.candidate } : { candidate: '', sdpMid: '0', sdpMLineIndex: 0 };
    const n = this.gathered;
    this.outgoing = this.outgoing.then(async () => {
      const sent = candidate ? await this.filtered(init, 'local') : init;
      if (!sent || this.call.leg !== this) return;
      this.event('candidate.sent', { n, type: candidate?.type ?? 'end', written: 1, ...(candidate?.address?.endsWith('.local') && { hidden: true }) });
      this.line.ask(this.call, 'candidate', { ...this.call.ref, ...sent }, this).catch(() => {});
    });
    if (!candidate) this.relaysGathered();
  }

  /**
   * Without a relayed candidate the credentials were refused, or the TURN server is
   * gone. A client that needs the relay makes another leg with fresh ones, once in a call.
   */
  relaysGathered() {
    const { servers } = this.line;
    if (this.relayed > 0 || !servers.relays) return;
    servers.spent = true;
    if (!this.settings.relay || this.call.anew) return;
    this.call.anew = true;
    this.line.renew(this.call, 'ice_failed', 'client');
  }

  /** @param {RTC} rtc */
  remoteCandidates(rtc) {
    const batch = rtc.candidates ?? [{ candidate: rtc.candidate ?? '', sdpMid: rtc.sdpMid, sdpMLineIndex: rtc.sdpMLineIndex, usernameFragment: rtc.usernameFragment }];
    for (const c of batch) this.remoteCandidate(c);
  }

  /** @param {Candidate} c */
  remoteCandidate(c) {
    this.remote++;
    const { component, type } = describe(c.candidate);
    let ignored = '';
    if (this.call.offers.length > 0 && this.call.offers[0] !== this) ignored = 'replaced_leg';
    else if (type === 'unknown') ignored = 'malformed';
    else if (type !== 'end' && component !== '1') ignored = 'component'; // RTP and RTCP share a transport (RFC 8834 §4.5)
    this.event('candidate.received', { n: this.remote, type, ...(ignored && { ignored }) });
    if (ignored || type === 'end') return; // that there are no more changes nothing here, and each browser has its own way to say so
    this.incoming = this.incoming.then(async () => {
      const used = await this.filtered(c, 'remote');
      if (!used || this.call.leg !== this) return;
      if (this.answered) this.add(used);
      else this.waiting.push(used);
    });
  }

  /** @param {Candidate} c */
  add(c) {
    this.pc.addIceCandidate({ candidate: c.candidate, sdpMid: c.sdpMid ?? null, sdpMLineIndex: c.sdpMLineIndex ?? null }).catch((e) => {
      this.ifCurrent(() => this.line.failure(this.call, 'add ICE candidate', e));
    });
  }

  /**
   * @param {Candidate} c
   * @param {'local'|'remote'} side
   */
  async filtered(c, side) {
    const { candidate } = this.settings.hooks;
    return candidate ? candidate(c, side, this.n) : c;
  }

  onICE() {
    const state = this.pc.iceConnectionState;
    this.event('ice.state', { state });
    const ice = this.pc.getTransceivers()[0]?.sender.transport?.iceTransport;
    if (state === 'connected' && ice) this.onPair(ice);
    if (state === 'disconnected') this.line.session.probe();
  }

  onState() {
    const state = this.pc.connectionState;
    this.event('pc.state', { state });
    if (state === 'failed') this.line.mediaLost(this.call); // Chromium does not tell it of iceConnectionState then
    if (state !== 'connected') return;
    if (this.call.state === 'accepted') {
      this.call.state = 'connected';
      this.event('call.connected');
    }
    if (this.settings.statsEvery > 0 && this.sampling === undefined) {
      this.sampling = setInterval(() => this.sample(), this.settings.statsEvery);
    }
  }

  async sample() {
    try {
      for (const attrs of await sample(this.pc)) this.ifCurrent(() => this.event('media.stats', attrs));
    } catch (e) {
      this.ifCurrent(() => this.line.failure(this.call, 'get statistics', e));
    }
  }

  close() {
    clearInterval(this.sampling);
    const { pc } = this;
    pc.onicecandidate = pc.oniceconnectionstatechange = pc.onconnectionstatechange = pc.ontrack = null;
    pc.close();
  }
}

/**
 * Reads component and type from a candidate-attribute (RFC 8839 §5.1). The type of an empty one is "end".
 * @param {string} candidate
 */
export function describe(candidate) {
  const fields = candidate.trim().split(/\s+/).filter(Boolean);
  if (fields.length === 0) return { component: '', type: 'end' };
  const i = fields.indexOf('typ');
  if (i > 1 && i + 1 < fields.length) return { component: fields[1], type: fields[i + 1] };
  return { component: '', type: 'unknown' };
}
