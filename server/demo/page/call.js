// One 1v1 call: signaling of docs/protocol.md around one RTCPeerConnection.

export class Call extends EventTarget {
  #sig; #ref; #pc = null; #waiting = []; #answered = false
  peer; outgoing; remote = new MediaStream()

  constructor(signaling, ref, peer, outgoing) {
    super()
    this.#sig = signaling
    this.#ref = ref
    this.peer = peer
    this.outgoing = outgoing
  }

  is(data) { return data.callId === this.#ref.callId }

  ringing() { return this.#sig.rtc('ringing', this.#ref).catch(() => {}) }

  async accept(stream) {
    await this.#sig.rtc('answer', this.#ref)
    await this.negotiate(stream)
  }

  // end leaves the call, or confirms that it is over.
  end(action) {
    this.#pc?.close()
    this.#pc = null
    return this.#sig.rtc(action, this.#ref).catch(() => {}) // it may be over already
  }

  // negotiate makes the leg, or makes it anew: the media server cannot restart
  // ICE on the old one.
  async negotiate(stream) {
    this.#pc?.close()
    this.#answered = false
    this.#waiting = []
    const pc = this.#pc = new RTCPeerConnection({ iceServers: this.#sig.iceServers })
    this.remote = new MediaStream()
    pc.ontrack = ({ track }) => this.remote.addTrack(track)
    pc.onconnectionstatechange = () => this.#state(pc.connectionState, stream)
    pc.onicecandidate = ({ candidate }) => this.#sig.rtc('candidate', { ...this.#ref,
      candidate: candidate?.candidate ?? '', sdpMid: candidate?.sdpMid ?? '0', sdpMLineIndex: candidate?.sdpMLineIndex ?? 0,
      ...(candidate?.usernameFragment && { usernameFragment: candidate.usernameFragment }) }).catch(() => {})
    for (const track of stream.getTracks()) pc.addTrack(track, stream)
    await pc.setLocalDescription()
    await this.#sig.rtc('offer', { ...this.#ref, sdp: pc.localDescription.sdp })
  }

  async sdpAnswer(sdp) {
    const pc = this.#pc
    await pc?.setRemoteDescription({ type: 'answer', sdp })
    this.#answered = true
    for (const c of this.#waiting.splice(0)) await this.#add(c)
  }

  async candidate(c) {
    // RTP and RTCP share a transport, so nobody listens behind a second component.
    if (c.candidate && c.candidate.split(' ')[1] !== '1') return
    if (this.#answered) await this.#add(c)
    else this.#waiting.push(c)
  }

  async #add({ candidate, sdpMid, sdpMLineIndex }) {
    await this.#pc?.addIceCandidate(candidate ? { candidate, sdpMid, sdpMLineIndex } : null)
  }

  #state(state, stream) {
    this.dispatchEvent(new CustomEvent('state', { detail: state }))
    if (state === 'failed' && this.#pc) this.negotiate(stream).catch(() => {})
  }

  // facts are what has arrived so far.
  async facts() {
    const facts = { frames: 0, packets: 0 }
    for (const s of (await this.#pc?.getStats())?.values() ?? []) {
      if (s.type === 'inbound-rtp' && s.kind === 'video') facts.frames = s.framesDecoded ?? 0
      if (s.type === 'inbound-rtp' && s.kind === 'audio') facts.packets = s.packetsReceived ?? 0
    }
    return facts
  }
}
