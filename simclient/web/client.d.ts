// The client as applications see it. docs/web.md says what it does.

import type { Attrs, Handler, HistoryQuery, Options } from './types.d.ts';

export type * from './types.d.ts';

/** What the server refuses, with the code of its error frame. */
export class Refused extends Error {
  constructor(code: string, message?: string, retryAfter?: number);
  code: string;
  /** The server's own words, for people. */
  detail: string;
  /** Seconds after which the request may be repeated; 0 if the server does not say. */
  retryAfter: number;
}

/** What cannot be asked as things are: there is no connection, or no such call. */
export class NotPossible extends Error {
  constructor(message: string);
}

/** The connection, the session and the call as they are now; empty texts and 0 stand for none. */
export interface Snapshot {
  link: 'idle' | 'dialing' | 'greeting' | 'up' | 'waiting' | 'closed';
  session: string;
  user: string;
  call: string;
  room: string;
  peer: string;
  callState: string;
  leg: number;
}

/** One device of one user. */
export class CallClient {
  constructor(options: Options);

  connect(): Promise<void>;
  close(): void;
  drop(): void;
  on(kind: string, handler: Handler): () => void;

  call(user: string): Promise<void>;
  ring(): Promise<void>;
  accept(): Promise<void>;
  hangup(): Promise<void>;
  reject(): Promise<void>;
  busy(): Promise<void>;
  cancel(): Promise<void>;
  setMuted(kind: 'audio' | 'video', muted: boolean): Promise<void>;

  join(room: string, options?: { type?: 'mcu' | 'broadcast'; role?: 'publisher' | 'subscriber' }): Promise<void>;
  leave(room?: string): Promise<void>;
  setRole(user: string, role: 'publisher' | 'subscriber'): Promise<void>;
  kick(user: string): Promise<void>;
  record(what: 'start' | 'stop'): Promise<void>;

  /** Resolves with the id of the message. */
  message(to: string, content: string): Promise<string>;
  askPresence(user: string): Promise<Attrs>;
  setPresence(status: 'online' | 'offline'): Promise<void>;
  history(query: HistoryQuery): Promise<{ items: object[]; next?: string }>;

  refreshToken(): Promise<void>;
  /** Resolves with the data of the acknowledgement. */
  request(type: string, action: string, data?: object): Promise<any>;
  /** Puts anything on the WebSocket, for tests of servers. */
  send(raw: string | Uint8Array<ArrayBuffer>): void;

  readonly state: Snapshot;
  readonly peerConnection: RTCPeerConnection | null;
}
