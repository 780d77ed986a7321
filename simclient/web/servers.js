// @ts-check

/** @typedef {import('./types.d.ts').IceServer} IceServer */

const margin = 5000; // milliseconds before their end for which credentials count as run out

/** The ICE servers that the server gave the session to use. */
export class Servers {
  /**
   * @param {import('./types.d.ts').Settings} settings
   * @param {import('./session.js').Session} session
   * @param {(kind: string, attrs: import('./types.d.ts').Attrs) => void} event
   */
  constructor(settings, session, event) {
    this.settings = settings;
    this.session = session;
    this.event = event;
    /** @type {IceServer[]} */
    this.list = [];
    this.until = 0;
    this.spent = false; // a leg got no relayed candidate from them
  }

  /**
   * @param {IceServer[] | undefined} list
   * @param {number | undefined} ttl in seconds, 0 if they are good for ever
   */
  take(list, ttl) {
    this.list = list ?? [];
    this.until = ttl ? this.settings.now() + ttl * 1000 : 0;
    this.spent = false;
  }

  get stale() {
    return this.list.length > 0 && (this.spent || (this.until > 0 && this.settings.now() >= this.until - margin));
  }

  /** Whether there is a TURN server among them. */
  get relays() {
    return this.list.some((s) => [s.urls].flat().some((u) => /^turns?:/.test(u)));
  }

  /**
   * Servers with credentials that are good. If the server refuses fresh ones, the old ones have to do.
   * @param {import('./call.js').Call} call
   */
  async fresh(call) {
    if (this.stale) {
      try {
        const ack = await this.session.request('turn', '', undefined, { call });
        this.take(ack.iceServers, ack.ttl);
        this.event('ice.servers', { call: call.name, servers: this.list.length, ttl_ms: (ack.ttl ?? 0) * 1000 });
      } catch {
        // told as an error event
      }
    }
    const list = this.list.length > 0 ? this.list : this.settings.iceServers;
    return this.settings.hooks.iceServers ? this.settings.hooks.iceServers(list) : list;
  }
}
