// The types of the protocol's frames and of the client's options. docs/protocol.md
// and docs/web.md say what they mean.

/** One envelope, routed by its type. */
export interface Frame {
  type: string;
  action?: string;
  id?: string;
  seq?: number;
  data?: any;
  about?: any;
}

/** An RTCIceCandidateInit. */
export interface Candidate {
  candidate: string;
  sdpMid?: string | null;
  sdpMLineIndex?: number | null;
  usernameFragment?: string | null;
}

export interface Member {
  userId: string;
  role: string;
}

/** The data of an rtc frame; each action uses the fields that it needs. */
export interface RTC extends Partial<Candidate> {
  roomId?: string;
  callId?: string;
  userId?: string;
  targetUser?: string;
  sdp?: string;
  candidates?: Candidate[];
  reason?: string;
  roomType?: string;
  role?: string;
  members?: Member[];
  recording?: string;
  recordingId?: string;
}

export interface IceServer {
  urls: string[] | string;
  username?: string;
  credential?: string;
}

/** The call that a resumed session is in. */
export interface CallRef {
  callId?: string;
  roomId: string;
  roomType?: string;
  peer?: string;
  state: string;
}

export interface Welcome {
  version: number;
  features: string[];
  sessionId: string;
  userId: string;
  resumeToken: string;
  resumed: boolean;
  heartbeat: number;
  timeout: number;
  resumeWindow: number;
  call?: CallRef;
  tokenTTL?: number;
  iceServers?: IceServer[];
  iceTTL?: number;
}

export interface HistoryQuery {
  what: 'calls' | 'missed' | 'members' | 'recordings';
  roomId?: string;
  cursor?: string;
  limit?: number;
}

/** What an event says. Only `track` has values that are objects. */
export type Attrs = Record<string, any>;

export type Handler = (attrs: Attrs, kind: string) => void;

/** How a client comes back after its connection ended. All in milliseconds. */
export interface ReconnectPolicy {
  first: number;
  max: number;
  /** Bounds one attempt, from dialing to welcome. */
  attempt: number;
  /** Ends the session when it could not be resumed for so long. */
  giveUp: number;
}

/** How a client finds out that its connection is dead. In milliseconds. */
export interface Heartbeat {
  every: number;
  pong: number;
}

/** Which call media is for. */
export interface About {
  call: string;
  room: string;
  peer: string;
}

/** Where an application reaches into what the client does with WebRTC. */
export interface Hooks {
  /** Sees each sender before the offer: for encoded transforms, say. */
  sender?(sender: RTCRtpSender, kind: string, about: About): void;
  /** The same of receivers; a transform that is set later may not see anything. */
  receiver?(receiver: RTCRtpReceiver, kind: string, about: About): void;
  /** Changes the ICE servers of a leg. */
  iceServers?(list: IceServer[]): Promise<IceServer[]> | IceServer[];
  /** Changes a candidate, or leaves it out with null. */
  candidate?(candidate: Candidate, side: 'local' | 'remote', leg: number): Promise<Candidate | null> | Candidate | null;
}

export interface Options {
  /** ws:// or wss:// of the signaling server. */
  url: string;
  /** Gives a JSON Web Token for each connection, and another before it runs out. */
  token?(): Promise<string> | string;
  /** The stable name of this device of the user. */
  device?: string;
  /** What is sent in a call: at most one track of each kind. Camera and microphone if absent. */
  media?(about: About): Promise<MediaStreamTrack[]> | MediaStreamTrack[];
  /** Tracks are stopped when their call is over; true if absent. */
  stopTracks?: boolean;
  /** ICE uses relayed candidates only. */
  relay?: boolean;
  /** Used where the server gives none. */
  iceServers?: IceServer[];
  /** More of the RTCConfiguration of each leg. */
  rtc?: RTCConfiguration;
  /** The application says ring() itself. */
  manualRing?: boolean;
  /** Milliseconds between two samples of getStats, told as media.stats; 0 or absent is none. */
  statsEvery?: number;
  reconnect?: Partial<ReconnectPolicy>;
  heartbeat?: Partial<Heartbeat>;
  hooks?: Hooks;
  /** What the browser gives, for tests without one. */
  WebSocket?: typeof WebSocket;
  RTCPeerConnection?: typeof RTCPeerConnection;
  MediaStream?: typeof MediaStream;
  random?(): number;
  now?(): number;
}

/** Options with nothing left out. */
export interface Settings extends Required<Omit<Options, 'token'>> {
  token?: Options['token'];
  reconnect: ReconnectPolicy;
  heartbeat: Heartbeat;
  hooks: Hooks;
}
