// @ts-check
// What is sent in one call. It outlives the legs.

/** @typedef {import('./call.js').Call} Call */
/** @typedef {import('./line.js').Line} Line */

/** @type {('audio'|'video')[]} */
const kinds = ['audio', 'video'];

export class Sending {
  /**
   * @param {Line} line
   * @param {Call} call
   */
  constructor(line, call) {
    this.line = line;
    this.call = call;
    /** @type {MediaStreamTrack[] | null} */
    this.tracks = null;
    this.stream = new line.settings.MediaStream();
    /** @type {{kind: string, sender: RTCRtpSender}[]} */
    this.senders = [];
  }

  /** Gets the tracks, once in a call, and again if they have ended or the role has changed. */
  async capture() {
    if (!this.call.sends) {
      this.release();
      return;
    }
    if (this.tracks && !this.tracks.some((t) => t.readyState === 'ended')) return;
    const { name, room, peer } = this.call;
    this.tracks = await this.line.settings.media({ call: name, room, peer });
  }

  /**
   * Adds the media sections of a leg: what this side sends, and what it only receives.
   * @param {RTCPeerConnection} pc
   */
  layOut(pc) {
    this.senders = [];
    const { hooks } = this.line.settings;
    for (const kind of kinds) {
      const track = this.tracks?.find((t) => t.kind === kind);
      if (track && this.call.sends) {
        const { sender, receiver } = pc.addTransceiver(this.line.muted.has(kind) ? kind : track,
          { direction: this.call.receives ? 'sendrecv' : 'sendonly', streams: [this.stream] });
        this.senders.push({ kind, sender });
        hooks.sender?.(sender, kind, this.about());
        if (this.call.receives) hooks.receiver?.(receiver, kind, this.about());
      } else if (this.call.receives) {
        const { receiver } = pc.addTransceiver(kind, { direction: 'recvonly' });
        hooks.receiver?.(receiver, kind, this.about());
      }
    }
  }

  about() {
    return { call: this.call.name, room: this.call.room, peer: this.call.peer };
  }

  /** Lets senders send what is not muted. */
  async apply() {
    await Promise.all(this.senders.map(({ kind, sender }) => {
      const track = this.line.muted.has(/** @type {any} */ (kind)) ? null : this.tracks?.find((t) => t.kind === kind) ?? null;
      return sender.track === track ? undefined : sender.replaceTrack(track);
    }));
  }

  release() {
    if (this.line.settings.stopTracks) this.tracks?.forEach((t) => t.stop());
    this.tracks = null;
  }

  stop() {
    this.senders = [];
    this.release();
  }
}
