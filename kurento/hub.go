package kurento

import "context"

// Composite is a handle of a hub that mixes its ports: the videos side by side
// in one picture, the audio of all others for each. All of it is decoded and
// encoded anew.
type Composite struct{ Object }

// CompositeOptions are the parameters of a new Composite. A zero is Kurento's
// default.
type CompositeOptions struct {
	Width     int `json:"width,omitempty"`     // of the picture, in pixels; 800
	Height    int `json:"height,omitempty"`    // of the picture, in pixels; 600
	Framerate int `json:"framerate,omitempty"` // in pictures a second; 15
}

// CreateComposite creates a composite in the pipeline.
func (p MediaPipeline) CreateComposite(ctx context.Context, opts CompositeOptions) (Composite, error) {
	id, err := p.client.Create(ctx, "Composite", struct {
		MediaPipeline ObjectID `json:"mediaPipeline"`
		CompositeOptions
	}{p.id, opts})
	return Composite{p.client.Object(id)}, err
}

// HubPort is a handle of a way into a hub and out of it. Nothing that comes in
// goes out again by itself: what comes out is what the hub makes of its ports.
type HubPort struct{ MediaElement }

// CreateHubPort creates a port of the composite, which dies with it. Its video
// flows as soon as the hub mixes, before anything comes in.
func (c Composite) CreateHubPort(ctx context.Context) (HubPort, error) {
	id, err := c.client.Create(ctx, "HubPort", struct {
		Hub ObjectID `json:"hub"`
	}{c.id})
	return HubPort{MediaElement{c.client.Object(id)}}, err
}
