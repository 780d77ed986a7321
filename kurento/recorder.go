package kurento

import "context"

// MediaProfile is what a recorder writes.
type MediaProfile string

// The profiles that Kurento writes without transcoding VP8 and Opus. One of a
// single kind takes nothing else.
const (
	ProfileWebM      MediaProfile = "WEBM"
	ProfileWebMVideo MediaProfile = "WEBM_VIDEO_ONLY"
	ProfileWebMAudio MediaProfile = "WEBM_AUDIO_ONLY"
)

// RecorderEndpoint is a handle of an element that writes media to a file on the
// side of KMS. It is a sink, and works once: after Stop it is spent.
type RecorderEndpoint struct{ MediaElement }

// CreateRecorderEndpoint creates a recorder in the pipeline that writes to uri,
// "file:///path". Missing directories are made. KMS accepts every uri; whether
// it can be written shows in an Error event after Record. Never take a uri from
// a client: KMS writes, and posts, wherever it says.
func (p MediaPipeline) CreateRecorderEndpoint(ctx context.Context, uri string, profile MediaProfile) (RecorderEndpoint, error) {
	id, err := p.client.Create(ctx, "RecorderEndpoint", struct {
		MediaPipeline ObjectID     `json:"mediaPipeline"`
		URI           string       `json:"uri"`
		MediaProfile  MediaProfile `json:"mediaProfile,omitempty"`
	}{p.id, uri, profile})
	return RecorderEndpoint{MediaElement{p.client.Object(id)}}, err
}

// Record begins to record. Recording and UriEndpointStateChanged START follow
// once media of every kind of the profile have come; until then there is
// nothing to stop.
func (r RecorderEndpoint) Record(ctx context.Context) error { return r.Invoke(ctx, "record", nil, nil) }

// State is START while media are written, PAUSE, and STOP before and after.
func (r RecorderEndpoint) State(ctx context.Context) (State, error) {
	var s State
	err := r.Get(ctx, "state", &s)
	return s, err
}

// Stop begins to complete the file. Stopped tells the end of it.
func (r RecorderEndpoint) Stop(ctx context.Context) error { return r.Invoke(ctx, "stop", nil, nil) }

// StopAndWait completes the file and returns when it is complete. KMS answers
// nothing else on the connection meanwhile.
func (r RecorderEndpoint) StopAndWait(ctx context.Context) error {
	return r.Invoke(ctx, "stopAndWait", nil, nil)
}
