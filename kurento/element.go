package kurento

import (
	"context"
	"encoding/json"
	"fmt"
)

// MediaPipeline is a handle of the object that holds the elements of a call.
// Only elements of one pipeline can be connected.
type MediaPipeline struct{ Object }

// CreateMediaPipeline creates an empty pipeline.
func (c *Client) CreateMediaPipeline(ctx context.Context) (MediaPipeline, error) {
	id, err := c.Create(ctx, "MediaPipeline", nil)
	return MediaPipeline{c.Object(id)}, err
}

// MediaPipeline returns a handle of a pipeline that exists already.
func (c *Client) MediaPipeline(id ObjectID) MediaPipeline { return MediaPipeline{c.Object(id)} }

// MediaElement is a handle of anything that media flow through.
type MediaElement struct{ Object }

// connection is the parameter of connect and disconnect.
type connection struct {
	Sink      ObjectID  `json:"sink"`
	MediaType MediaType `json:"mediaType,omitempty"`
}

// Connect lets media of the given kinds, all kinds if there are none, flow
// from this element to sink. A sink has one source for each kind: a new one
// takes the place of the old. Video starts with the next key frame.
func (e MediaElement) Connect(ctx context.Context, sink ObjectID, kinds ...MediaType) error {
	return e.wire(ctx, "connect", sink, kinds)
}

// Join lets media of all kinds flow between this element and another, both ways, in
// one transaction.
func (e MediaElement) Join(ctx context.Context, other ObjectID) error {
	results, err := e.client.transact(ctx, "join", []Operation{joining(e.id, other), joining(other, e.id)}, func(*call) {})
	for _, r := range results {
		if r.Err != nil {
			err = fmt.Errorf("kurento: join %s and %s: %w", e.id, other, r.Err)
		}
	}
	return err
}

func joining(source, sink ObjectID) Operation {
	return Operation{Method: methodInvoke, Params: request{Object: source, Operation: "connect", OperationParams: connection{Sink: sink}}}
}

// Disconnect ends what Connect began. Disconnecting what is not connected
// leaves KMS with a wrong picture of the sink's sources.
func (e MediaElement) Disconnect(ctx context.Context, sink ObjectID, kinds ...MediaType) error {
	return e.wire(ctx, "disconnect", sink, kinds)
}

func (e MediaElement) wire(ctx context.Context, operation string, sink ObjectID, kinds []MediaType) error {
	if len(kinds) == 0 {
		kinds = []MediaType{""} // no mediaType stands for all of them
	}
	for _, kind := range kinds {
		if err := e.Invoke(ctx, operation, connection{sink, kind}, nil); err != nil {
			return err
		}
	}
	return nil
}

// Stats returns the element's statistics of all media by the id of each
// report; the report's own "type" says what it holds. It is nil before media
// flow.
func (e MediaElement) Stats(ctx context.Context) (map[string]json.RawMessage, error) {
	var stats map[string]json.RawMessage
	err := e.Invoke(ctx, "getStats", nil, &stats)
	return stats, err
}

// FlowingOut reports whether media of a kind, Audio or Video, flow out of the
// element now: with an endpoint, what its peer sends.
func (e MediaElement) FlowingOut(ctx context.Context, kind MediaType) (bool, error) {
	var flowing bool
	err := e.Invoke(ctx, "isMediaFlowingOut", map[string]MediaType{"mediaType": kind}, &flowing)
	return flowing, err
}

// WebRtcEndpoint is a handle of the peer that KMS is to a browser.
//
// The order that works is: create, Subscribe, ProcessOffer, send the answer,
// GatherCandidates. An endpoint negotiates once; there is no renegotiation and
// no ICE restart: make a new one.
type WebRtcEndpoint struct{ MediaElement }

// WebRtcEndpointOptions are the parameters of a new WebRtcEndpoint. The zero
// value sends and receives.
type WebRtcEndpointOptions struct {
	RecvOnly        bool `json:"recvonly,omitempty"` // matters to offers of KMS only
	SendOnly        bool `json:"sendonly,omitempty"` // matters to offers of KMS only
	UseDataChannels bool `json:"useDataChannels,omitempty"`
	// CertificateKeyType is "RSA" (the default) or "ECDSA".
	CertificateKeyType string `json:"certificateKeyType,omitempty"`
}

// CreateWebRtcEndpoint creates an endpoint in the pipeline.
func (p MediaPipeline) CreateWebRtcEndpoint(ctx context.Context, opts WebRtcEndpointOptions) (WebRtcEndpoint, error) {
	r := webRtcEndpoint(p.id, opts)
	id, err := p.client.Create(ctx, r.Type, r.ConstructorParams)
	return p.client.WebRtcEndpoint(id), err
}

// WebRtcEndpoint returns a handle of an endpoint that exists already.
func (c *Client) WebRtcEndpoint(id ObjectID) WebRtcEndpoint {
	return WebRtcEndpoint{MediaElement{c.Object(id)}}
}

// ProcessOffer negotiates the peer's SDP offer and returns the answer, without
// candidates. Attributes of the offer's session level come back in the answer,
// a fingerprint too, which misleads a peer that looks there first: move it
// into the media sections before.
func (e WebRtcEndpoint) ProcessOffer(ctx context.Context, offer string) (answer string, err error) {
	err = e.Invoke(ctx, "processOffer", map[string]string{"offer": offer}, &answer)
	return answer, err
}

// Negotiate is ProcessOffer and GatherCandidates in one transaction: candidates may
// come before the answer. An error beside an answer is that of gathering.
func (e WebRtcEndpoint) Negotiate(ctx context.Context, offer string) (answer string, err error) {
	results, err := e.client.transact(ctx, "negotiate", []Operation{
		{Method: methodInvoke, Params: request{Object: e.id, Operation: "processOffer", OperationParams: map[string]string{"offer": offer}}},
		{Method: methodInvoke, Params: request{Object: e.id, Operation: "gatherCandidates"}},
	}, func(*call) {})
	if err != nil {
		return "", err
	}
	for i, r := range results {
		if r.Err == nil && i == 0 {
			r.Err = json.Unmarshal(r.Value, &answer)
		}
		if r.Err != nil {
			return answer, fmt.Errorf("kurento: negotiate on %s: %w", e.id, r.Err)
		}
	}
	return answer, nil
}

// ConnectionState is CONNECTED once ICE and DTLS are, and DISCONNECTED before. It
// does not go back when the peer vanishes.
func (e WebRtcEndpoint) ConnectionState(ctx context.Context) (State, error) {
	var s State
	err := e.Get(ctx, "connectionState", &s)
	return s, err
}

// GatherCandidates starts gathering; candidates come as IceCandidateFound.
// Before ProcessOffer it has no effect.
func (e WebRtcEndpoint) GatherCandidates(ctx context.Context) error {
	return e.Invoke(ctx, "gatherCandidates", nil, nil)
}

// AddIceCandidate adds a candidate of the peer. KMS keeps candidates that come
// before the offer, ignores those it cannot parse, and fails only with an
// m-line that does not exist (CodeICEAddCandidate). It resolves a ".local"
// name inside the request, for seconds if the name server is slow, and
// everything behind it waits: such candidates are best left out.
func (e WebRtcEndpoint) AddIceCandidate(ctx context.Context, candidate IceCandidate) error {
	return e.Invoke(ctx, "addIceCandidate", map[string]IceCandidate{"candidate": candidate}, nil)
}

// SetTurnURL sets the relay, "user:password@a.b.c.d:port?transport=udp": an
// IPv4 address, no name, nothing percent-encoded. It counts from the next
// GatherCandidates on. KMS accepts any string and raises an Error event for a
// malformed one.
func (e WebRtcEndpoint) SetTurnURL(ctx context.Context, url string) error {
	return e.Set(ctx, "turnUrl", url)
}

// SetStunServer sets the STUN server. One that does not answer makes gathering
// take 2 s.
func (e WebRtcEndpoint) SetStunServer(ctx context.Context, address string, port int) error {
	if err := e.Set(ctx, "stunServerAddress", address); err != nil {
		return err
	}
	return e.Set(ctx, "stunServerPort", port)
}

// SetMaxAudioRecvBandwidth limits, in kbit/s, what the peer is asked to send;
// 0 is no limit and the default. It must come before ProcessOffer.
func (e WebRtcEndpoint) SetMaxAudioRecvBandwidth(ctx context.Context, kbps int) error {
	return e.Set(ctx, "maxAudioRecvBandwidth", kbps)
}

// SetMaxVideoRecvBandwidth limits, in kbit/s, what the peer is asked to send;
// 0 is no limit and the default. It must come before ProcessOffer.
func (e WebRtcEndpoint) SetMaxVideoRecvBandwidth(ctx context.Context, kbps int) error {
	return e.Set(ctx, "maxVideoRecvBandwidth", kbps)
}

// SetMinVideoSendBandwidth sets the least, in kbit/s, that is sent to the
// peer; 100 by default. KMS caps it at the most that is sent, silently.
func (e WebRtcEndpoint) SetMinVideoSendBandwidth(ctx context.Context, kbps int) error {
	return e.Set(ctx, "minVideoSendBandwidth", kbps)
}

// SetMaxVideoSendBandwidth sets the most, in kbit/s, that is sent to the peer;
// 500 by default.
func (e WebRtcEndpoint) SetMaxVideoSendBandwidth(ctx context.Context, kbps int) error {
	return e.Set(ctx, "maxVideoSendBandwidth", kbps)
}
