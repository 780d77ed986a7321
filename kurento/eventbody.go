package kurento

// MediaType is a kind of media.
type MediaType string

// Kinds of media.
const (
	Audio MediaType = "AUDIO"
	Video MediaType = "VIDEO"
	Data  MediaType = "DATA"
)

// State is a state as KMS spells it. Which ones an event can carry stands with
// the event.
type State string

// States of events.
const (
	StateNew           State = "NEW"
	StateGathering     State = "GATHERING"
	StateConnecting    State = "CONNECTING"
	StateConnected     State = "CONNECTED"
	StateReady         State = "READY"
	StateDisconnected  State = "DISCONNECTED"
	StateFailed        State = "FAILED"
	StateClosed        State = "CLOSED"
	StateFlowing       State = "FLOWING"
	StateNotFlowing    State = "NOT_FLOWING"
	StateTranscoding   State = "TRANSCODING"
	StateNoTranscoding State = "NOT_TRANSCODING"
	StateStop          State = "STOP"
	StateStart         State = "START"
	StatePause         State = "PAUSE"
)

// IceCandidate is a local or remote ICE candidate. All three members are
// required by KMS; an empty SDPMid is taken by index.
type IceCandidate struct {
	// Candidate is the line without "a=". Local ones of KMS have the
	// transport in capitals and neither generation nor ufrag.
	Candidate     string `json:"candidate"`
	SDPMid        string `json:"sdpMid"`
	SDPMLineIndex int    `json:"sdpMLineIndex"`
}

// IceCandidatePair is a pair in use.
type IceCandidatePair struct {
	ComponentID     int    `json:"componentId"`
	LocalCandidate  string `json:"localCandidate"`
	RemoteCandidate string `json:"remoteCandidate"`
	StreamID        string `json:"streamId"`
}

// ErrorRaised is the body of the event Error: something went wrong inside an
// object after the call that caused it had succeeded.
type ErrorRaised struct {
	EventMeta
	// Description is free text. It quotes a TURN URL that KMS refused with
	// its password in clear: do not log it.
	Description string `json:"description"`
	ErrorCode   int    `json:"errorCode"`
	// Name is such as STREAM_ERROR_FAILED or UNEXPECTED_ELEMENT_ERROR.
	Name string `json:"type"`
}

// IceCandidateFound brings a local candidate. KMS reports each candidate once
// for every accepted m-line, and now and then one after IceGatheringDone.
type IceCandidateFound struct {
	EventMeta
	Candidate IceCandidate `json:"candidate"`
}

// IceGatheringDone says that no more local candidates are expected.
type IceGatheringDone struct{ EventMeta }

// IceComponentStateChanged is GATHERING, CONNECTING, CONNECTED, READY, FAILED
// or DISCONNECTED. Component 2 never carries media under rtcp-mux, and its
// FAILED means nothing.
type IceComponentStateChanged struct {
	EventMeta
	ComponentID int   `json:"componentId"`
	StreamID    int   `json:"streamId"`
	State       State `json:"state"`
}

// NewCandidatePairSelected tells the pair in use.
type NewCandidatePairSelected struct {
	EventMeta
	Pair IceCandidatePair `json:"candidatePair"`
}

// DtlsConnectionStateChange is NEW, CONNECTING, CONNECTED, CLOSED or FAILED,
// reported by the encrypting and the decrypting half each.
type DtlsConnectionStateChange struct {
	EventMeta
	ComponentID  string `json:"componentId"` // "[bundle/dtlssrtpenc]", "[bundle/dtlssrtpdec]"
	ConnectionID string `json:"connectionId"`
	StreamID     string `json:"streamId"`
	State        State  `json:"state"`
}

// ConnectionStateChanged is CONNECTED once the transport stands. It does not
// go back when the peer vanishes.
type ConnectionStateChanged struct {
	EventMeta
	NewState State `json:"newState"`
	OldState State `json:"oldState"`
}

// MediaStateChanged is CONNECTED with the first RTCP, about a second after the
// transport stands, and DISCONNECTED 7 to 9 s after the last packet.
type MediaStateChanged struct {
	EventMeta
	NewState State `json:"newState"`
	OldState State `json:"oldState"`
}

// MediaSessionStarted follows processOffer or processAnswer.
type MediaSessionStarted struct{ EventMeta }

// MediaSessionTerminated is documented by Kurento and was never seen.
type MediaSessionTerminated struct{ EventMeta }

// MediaFlowInStateChanged is FLOWING or NOT_FLOWING (2 s after the last
// packet) for media that the element receives from other elements.
type MediaFlowInStateChanged struct {
	EventMeta
	MediaType MediaType `json:"mediaType"`
	PadName   string    `json:"padName"`
	State     State     `json:"state"`
}

// MediaFlowOutStateChanged is FLOWING or NOT_FLOWING for media that the
// element offers to other elements: with an endpoint, what its peer sends.
type MediaFlowOutStateChanged struct {
	EventMeta
	MediaType MediaType `json:"mediaType"`
	PadName   string    `json:"padName"`
	State     State     `json:"state"`
}

// MediaTranscodingStateChanged is TRANSCODING or NOT_TRANSCODING, raised by
// the source element once a sink pulls media.
type MediaTranscodingStateChanged struct {
	EventMeta
	BinName   string    `json:"binName"`
	MediaType MediaType `json:"mediaType"`
	State     State     `json:"state"`
}

// ElementConnected is raised by the source element, once for each medium.
type ElementConnected struct {
	EventMeta
	Sink                   ObjectID  `json:"sink"`
	MediaType              MediaType `json:"mediaType"`
	SourceMediaDescription string    `json:"sourceMediaDescription"`
	SinkMediaDescription   string    `json:"sinkMediaDescription"`
}

// ElementDisconnected is raised by the source element, once for each medium,
// also for what was not connected.
type ElementDisconnected struct {
	EventMeta
	Sink                   ObjectID  `json:"sink"`
	MediaType              MediaType `json:"mediaType"`
	SourceMediaDescription string    `json:"sourceMediaDescription"`
	SinkMediaDescription   string    `json:"sinkMediaDescription"`
}

// DataChannelOpened comes twice for one channel.
type DataChannelOpened struct {
	EventMeta
	ChannelID int `json:"channelId"`
}

// DataChannelClosed comes twice for one channel.
type DataChannelClosed struct {
	EventMeta
	ChannelID int `json:"channelId"`
}

// UriEndpointStateChanged is STOP, START or PAUSE of a player or recorder.
type UriEndpointStateChanged struct {
	EventMeta
	State State `json:"state"`
}

// EndOfStream says that a player has come to the end.
type EndOfStream struct{ EventMeta }

// Recording says that a recorder began to write.
type Recording struct{ EventMeta }

// Paused says that a recorder pauses.
type Paused struct{ EventMeta }

// Stopped says that a recorder has finished its file.
type Stopped struct{ EventMeta }

// ObjectCreated is raised by the ServerManager.
type ObjectCreated struct {
	EventMeta
	Object ObjectID `json:"object"`
}

// ObjectDestroyed is raised by the ServerManager.
type ObjectDestroyed struct {
	EventMeta
	ObjectID ObjectID `json:"objectId"`
}
