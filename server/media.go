package server

import (
	"context"
	"errors"
)

// Media makes the pipelines that rooms run their media through. Package kms
// implements it on a Kurento Media Server.
//
// Every method of Media, Pipeline and Endpoint may block until its context
// ends and not longer: the server gives each call a deadline. They are safe for
// concurrent use.
type Media interface {
	NewPipeline(ctx context.Context) (Pipeline, error)
}

// Pipeline holds the endpoints of one room.
type Pipeline interface {
	// ID is the media server's name of the pipeline.
	ID() string
	// NewEndpoint makes an endpoint for one member. Its events go to on, one
	// at a time and in the order in which they arrived, until it is released;
	// the first may come before NewEndpoint returns. on returns quickly.
	NewEndpoint(ctx context.Context, on func(MediaEvent)) (Endpoint, error)
	// Release ends the pipeline and every endpoint in it.
	Release(ctx context.Context) error
}

// Endpoint is one member's PeerConnection on the media server's side.
type Endpoint interface {
	// ID is the media server's name of the endpoint.
	ID() string
	// Connect sends what this endpoint receives from its member to the sink,
	// which is an endpoint of the same pipeline. It is one way.
	Connect(ctx context.Context, sink Endpoint) error
	// ProcessOffer answers the member's SDP offer. It works once: Kurento has
	// no renegotiation (40208), so a second offer needs a new endpoint. An
	// error that wraps ErrSDPRefused leaves the endpoint as it was.
	ProcessOffer(ctx context.Context, offer string) (answer string, err error)
	// Gather starts gathering; candidates arrive as events.
	Gather(ctx context.Context) error
	// AddCandidates passes on candidates of the member's, in order. Its error
	// names the first that was refused; the others are passed on all the same.
	AddCandidates(ctx context.Context, candidates []Candidate) error
	// Release ends the endpoint. Releasing it twice is no error.
	Release(ctx context.Context) error
}

// Errors that implementations of Media wrap.
var (
	// ErrSDPRefused says that the media server could not make sense of an SDP.
	ErrSDPRefused = errors.New("the media server refused the SDP")
	// ErrMediaGone says that the media server no longer knows the object, or
	// cannot be reached.
	ErrMediaGone = errors.New("the media server lost the object")
)

// MediaEvent is something that the media server reports of an endpoint.
type MediaEvent struct {
	Kind      MediaEventKind
	Candidate Candidate // of MediaCandidate
	State     string    // in the media server's own words: CONNECTED, FLOWING, NOT_TRANSCODING
	Component int       // of MediaICE: 1 is RTP with RTCP muxed into it, anything else is noise
	Medium    string    // of the flows and of MediaTranscoding: audio, video or data
	Detail    string    // of MediaFailure: what the media server said
}

// MediaEventKind says what a MediaEvent reports.
type MediaEventKind uint8

// The kinds of media events.
const (
	MediaCandidate   MediaEventKind = iota + 1 // the endpoint found a candidate of its own
	MediaGathered                              // it has found all of them
	MediaICE                                   // state of one ICE component
	MediaDTLS                                  // state of the DTLS handshake
	MediaConnection                            // state of the whole connection
	MediaFlowIn                                // media flows into the endpoint from the room, or stopped
	MediaFlowOut                               // media flows out of the endpoint to the room, or stopped
	MediaTranscoding                           // the endpoint transcodes what it sends to the room, or does not
	MediaFailure                               // the media server reported an error of the endpoint
	MediaLost                                  // the endpoint is gone and nothing more will come
)

// String names the kind as the log does.
func (k MediaEventKind) String() string {
	names := [...]string{"unknown", "candidate", "gathered", "ice", "dtls", "connection",
		"flow_in", "flow_out", "transcoding", "failure", "lost"}
	if int(k) < len(names) {
		return names[k]
	}
	return names[0]
}

// The states of media events that the server acts on, spelt as Kurento does.
const (
	StateConnected   = "CONNECTED"   // of MediaICE and MediaDTLS
	StateReady       = "READY"       // of MediaICE: connected, and no better pair is looked for
	StateTranscoding = "TRANSCODING" // of MediaTranscoding
)
