package server

import (
	"context"
	"errors"
)

// Media makes the pipelines that rooms run their media through. Package kms
// implements it on a Kurento Media Server.
//
// Every method of Media and of what it makes may block until its context ends
// and not longer: the server gives each call a deadline. They are safe for
// concurrent use. An error that wraps ErrMediaGone says that the object, its
// pipeline or the media server is gone, and one that wraps ErrMediaOverloaded
// that the media server takes nothing new at the moment.
type Media interface {
	// NewPipeline makes an empty pipeline. Where the media server is away it
	// fails soon with ErrMediaGone.
	NewPipeline(ctx context.Context) (Pipeline, error)
	// NewCall makes a pipeline and in it the endpoint of a call's first member, in
	// one round trip: both or nothing. The endpoint is as one of NewEndpoint.
	NewCall(ctx context.Context, on func(MediaEvent)) (Pipeline, Endpoint, error)
	// Pipeline takes over a pipeline that exists already, of an earlier process
	// of the server's or of another. It is ErrMediaGone if the media server does
	// not know it. What is in it has to be taken over too: the media server ends
	// what nobody holds after some minutes.
	Pipeline(ctx context.Context, id string) (Pipeline, error)
}

// Pipeline holds what the media of one room runs through.
type Pipeline interface {
	// ID is the media server's name of the pipeline.
	ID() string
	// NewEndpoint makes an endpoint for one member. Its events go to on, one
	// at a time and in the order in which they arrived, until it is released;
	// the first may come before NewEndpoint returns. on returns quickly. If there is
	// a peer the endpoint is joined with it, or not made.
	NewEndpoint(ctx context.Context, peer Endpoint, on func(MediaEvent)) (Endpoint, error)
	// Endpoint takes over an endpoint of the pipeline that exists already, with
	// its connections and as far negotiated as it is. That its member is
	// connected, and what flows out of it, is told again if it is so; other
	// events that came before are not. It is ErrMediaGone if the media server
	// does not know it.
	Endpoint(ctx context.Context, id string, on func(MediaEvent)) (Endpoint, error)
	// NewMixer makes a mixer.
	NewMixer(ctx context.Context) (Mixer, error)
	// NewRecorder makes a recorder that writes to uri, a name on the media
	// server's side such as "file:///recordings/1.webm". media are the kinds
	// that go into the file, audio and video if there are none: the recorder
	// writes nothing before all of them flow. Its events go to on as those of
	// NewEndpoint.
	NewRecorder(ctx context.Context, uri string, on func(RecorderEvent), media ...string) (Recorder, error)
	// Release ends the pipeline and everything in it.
	Release(ctx context.Context) error
	// ReleaseWith ends an endpoint and then the pipeline, in one round trip.
	ReleaseWith(ctx context.Context, last Endpoint) error
}

// Element is anything that media flow into or out of.
type Element interface {
	// ID is the media server's name of the element.
	ID() string
	// Connect sends what comes out of this element to sink, which is an element
	// of the same pipeline. It is one way. A sink has one source: a new one
	// takes the place of the old.
	Connect(ctx context.Context, sink Element) error
	// Disconnect ends what Connect began. It is for what is connected only.
	Disconnect(ctx context.Context, sink Element) error
	// Release ends the element. Releasing it twice is no error.
	Release(ctx context.Context) error
}

// Endpoint is one member's PeerConnection on the media server's side. What
// comes out of it is what its member sends.
type Endpoint interface {
	Element
	// Join is Connect both ways, in one round trip.
	Join(ctx context.Context, other Endpoint) error
	// Negotiate answers the member's SDP offer and starts gathering, in one round
	// trip: candidates, which arrive as events, may come before it returns. It works
	// once: Kurento has no renegotiation (40208), so a second offer needs a new
	// endpoint. An error that wraps ErrSDPRefused leaves the endpoint as it was; one
	// beside an answer says that nothing is gathered.
	Negotiate(ctx context.Context, offer string) (answer string, err error)
	// AddCandidates passes on candidates of the member's, in order. Its error
	// names the first that was refused; the others are passed on all the same.
	AddCandidates(ctx context.Context, candidates []Candidate) error
}

// Mixer makes one picture and one sound of what its ports are given: Kurento's
// Composite.
type Mixer interface {
	// ID is the media server's name of the mixer.
	ID() string
	// NewPort makes a way into the mixer and out of it: the picture has a place
	// for what is connected to the port, and the mixed media come out of it. A
	// port that nothing is connected to has no place, and can feed a recorder.
	NewPort(ctx context.Context) (Element, error)
	// Release ends the mixer and its ports. Releasing it twice is no error.
	Release(ctx context.Context) error
}

// Recorder writes the media that are connected to it to one file. It is a sink
// only, and spent when it was stopped.
type Recorder interface {
	Element
	// Record begins to write. A recorder that is connected to what does not
	// flow in every kind that it was made for would wait for ever: the moment
	// to call it is when those flow out of the source, as its endpoint's
	// MediaFlowOut tells. RecorderStarted follows when all of them arrive here.
	Record(ctx context.Context) error
	// Stop completes the file and returns when it is complete. It is
	// ErrNothingRecorded if the recorder never started to write.
	Stop(ctx context.Context) error
}

// Errors that implementations of Media wrap.
var (
	// ErrSDPRefused says that the media server could not make sense of an SDP.
	ErrSDPRefused = errors.New("the media server refused the SDP")
	// ErrMediaGone says that the media server no longer knows the object, or
	// cannot be reached.
	ErrMediaGone = errors.New("the media server lost the object")
	// ErrMediaOverloaded says that the media server has not the means for
	// another object now. Existing ones are not affected.
	ErrMediaOverloaded = errors.New("the media server is overloaded")
	// ErrNothingRecorded says that a recording was stopped before any of it was
	// written, because not all that it was to record has come.
	ErrNothingRecorded = errors.New("nothing was recorded")
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

// RecorderEvent is something that the media server reports of a recorder.
type RecorderEvent struct {
	Kind   RecorderEventKind
	Medium string // of RecorderFlowIn: audio or video
	State  string // of RecorderFlowIn: FLOWING or NOT_FLOWING
	Detail string // of RecorderFailed and RecorderLost: what the media server said
}

// RecorderEventKind says what a RecorderEvent reports.
type RecorderEventKind uint8

// The kinds of recorder events.
const (
	RecorderFlowIn  RecorderEventKind = iota + 1 // media arrives at the recorder, or stopped
	RecorderStarted                              // it writes: everything that it was made for arrives
	RecorderStopped                              // the file is complete
	RecorderFailed                               // the media server reported an error of the recorder
	RecorderLost                                 // the recorder is gone and nothing more will come
)

// String names the kind as the log does.
func (k RecorderEventKind) String() string {
	names := [...]string{"unknown", "flow_in", "started", "stopped", "failed", "lost"}
	if int(k) < len(names) {
		return names[k]
	}
	return names[0]
}

// String names the kind as the log does.
func (k MediaEventKind) String() string {
	names := [...]string{"unknown", "candidate", "gathered", "ice", "dtls", "connection",
		"flow_in", "flow_out", "transcoding", "failure", "lost"}
	if int(k) < len(names) {
		return names[k]
	}
	return names[0]
}

// The kinds of media, as events and NewRecorder name them.
const (
	Audio = "audio"
	Video = "video"
)

// The states of media events that the server acts on, spelt as Kurento does.
const (
	StateConnected   = "CONNECTED"   // of MediaICE and MediaDTLS
	StateReady       = "READY"       // of MediaICE: connected, and no better pair is looked for
	StateTranscoding = "TRANSCODING" // of MediaTranscoding
	StateFlowing     = "FLOWING"     // of the flows
)
