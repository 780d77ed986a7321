package kurento_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/callbench/callbench/kurento"
)

// TestTranscripts replays each connection of each recording: the client makes
// the recorded requests, through a typed method where there is one, against a
// server that insists on them and answers with the recorded frames in the
// recorded order. Every result, error and event must come out as recorded.
func TestTranscripts(t *testing.T) {
	for _, path := range transcripts(t) {
		for conn, lines := range readTranscript(t, path) {
			name := strings.TrimSuffix(filepath.Base(path), ".jsonl") + "/" + conn
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { newReplay(t, lines).run() })
			})
		}
	}
}

func transcripts(t testing.TB) []string {
	paths, err := filepath.Glob("testdata/transcripts/*.jsonl")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	if dir := os.Getenv("CALLBENCH_KMS_TRANSCRIPTS"); dir != "" {
		more, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
		paths = append(paths, more...)
	}
	return paths
}

// step is a frame to be replayed.
type step struct {
	send   bool
	msg    message
	raw    json.RawMessage
	played chan struct{} // closed when the server has received or sent it
}

type replay struct {
	t       *testing.T
	steps   []*step
	hello   string // the result of the client's own connect
	client  *kurento.Client
	pending sync.WaitGroup

	mu     sync.Mutex
	events []kurento.Event
}

// newReplay picks the frames that a client of this package can cause: not
// those of broken JSON-RPC, nor the answers to them.
func newReplay(t *testing.T, lines []line) *replay {
	r := &replay{t: t, hello: `{"serverId":"server","sessionId":"session"}`}
	skipped := make(map[string]bool)
	for _, l := range lines {
		s := &step{send: l.Dir == "send", raw: l.Msg, played: make(chan struct{})}
		if json.Unmarshal(l.Msg, &s.msg) != nil || s.send && !s.msg.isRequest() {
			skipped[s.msg.key()] = true
			continue
		}
		if s.send {
			delete(skipped, s.msg.key())
		} else if s.msg.Method == nil && (s.msg.key() == "null" || skipped[s.msg.key()]) {
			continue
		}
		r.steps = append(r.steps, s)
	}
	r.adoptConnect()
	return r
}

// isRequest reports whether m is a well-formed request with an id.
func (m *message) isRequest() bool {
	known := bytes.HasPrefix(m.ID, []byte(`"`)) || len(m.ID) > 0 && strings.ContainsRune("-0123456789tf", rune(m.ID[0]))
	return m.JSONRPC == "2.0" && m.Method != nil && known
}

// key is the id as KMS compares it: 200 and "200" are the same.
func (m *message) key() string { return strings.Trim(string(m.ID), `"`) }

// adoptConnect lets the client's own connect stand for a recorded first one.
func (r *replay) adoptConnect() {
	if len(r.steps) >= 2 && r.steps[0].send && *r.steps[0].msg.Method == "connect" &&
		len(r.steps[0].msg.Params) == 0 && len(r.steps[1].msg.Result) > 0 {
		r.hello = string(r.steps[1].msg.Result)
		r.steps = r.steps[2:]
	}
}

func (r *replay) run() {
	w := newWire(r.t, func(p *peer) {
		if hello, ok := p.next(); ok {
			p.result(hello, r.hello)
		}
		r.play(p)
	})
	r.client = dialWire(r.t, w, nil)
	var want []kurento.Event
	listening := make(map[kurento.ObjectID][]string)
	for i, s := range r.steps {
		if s.send {
			response := r.response(i)
			r.pending.Go(func() { r.do(s, response) })
		}
		<-s.played
		synctest.Wait() // every handler has seen what came so far
		switch params := (rpcRequest{Params: s.msg.Params}); {
		case s.send && *s.msg.Method == "subscribe":
			id := kurento.ObjectID(params.param("object"))
			listening[id] = append(listening[id], params.param("type"))
		case s.send && *s.msg.Method == "release":
			release(listening, kurento.ObjectID(params.param("object")))
		case !s.send && s.msg.Method != nil:
			ev := eventOf(r.t, s)
			checkDecode(r.t, ev)
			if slices.Contains(listening[ev.Object], string(ev.Type)) {
				want = append(want, ev)
			}
		}
	}
	r.pending.Wait()
	r.checkEvents(want)
}

// release drops the object and its descendants.
func release(listening map[kurento.ObjectID][]string, object kurento.ObjectID) {
	for id := range listening {
		for up := id; up != ""; up = up.Parent() {
			if up == object {
				delete(listening, id)
			}
		}
	}
}

// response returns the recorded response to request i, nil if there is none.
func (r *replay) response(i int) *message {
	for _, s := range r.steps[i+1:] {
		if s.send && s.msg.key() == r.steps[i].msg.key() {
			return nil
		}
		if !s.send && s.msg.Method == nil && s.msg.key() == r.steps[i].msg.key() {
			return &s.msg
		}
	}
	return nil
}

// play is the server: it sends what was received then, after it received what
// was sent then.
func (r *replay) play(p *peer) {
	ids := make(map[string]json.RawMessage)
	for _, s := range r.steps {
		if !s.send {
			p.write("%s", withID(s.raw, ids[s.msg.key()]))
			close(s.played)
			continue
		}
		got, ok := p.next()
		if !ok {
			r.t.Error("the client hung up")
			return
		}
		ids[s.msg.key()] = got.ID
		if got.Method != *s.msg.Method || canonical(r.t, got.Params) != canonical(r.t, s.msg.Params) {
			r.t.Errorf("client sent %s %s\n     recorded %s %s", got.Method, got.Params, *s.msg.Method, s.msg.Params)
		}
		close(s.played)
	}
}

// withID returns the frame with its id, if it has one, replaced.
func withID(frame, id json.RawMessage) []byte {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(frame, &members)
	if _, ok := members["id"]; !ok {
		return frame
	}
	members["id"] = id
	out, _ := json.Marshal(members)
	return out
}

// canonical returns parameters in one spelling, without the session, which the
// recordings give explicitly and the client leaves to the connection.
func canonical(t testing.TB, params json.RawMessage) string {
	if len(params) == 0 {
		return "{}"
	}
	var v any
	if err := json.Unmarshal(params, &v); err != nil {
		t.Fatal(err)
	}
	if members, ok := v.(map[string]any); ok {
		delete(members, "sessionId")
	}
	out, _ := json.Marshal(v)
	return string(out)
}

// do makes the recorded request and compares what comes back.
func (r *replay) do(s *step, want *message) {
	got, err := r.request(s)
	switch {
	case want == nil:
		var lost *kurento.ConnectionError
		if !errors.As(err, &lost) && !errors.Is(err, context.DeadlineExceeded) {
			r.t.Errorf("%s: got %s, %v; no response was recorded", s.raw, got, err)
		}
	case want.Error != nil:
		r.checkError(s, err, want)
	case err != nil:
		r.t.Errorf("%s: %v", s.raw, err)
	case got != nil && canonical(r.t, got) != canonical(r.t, want.Result):
		r.t.Errorf("%s: result %s, recorded %s", s.raw, got, want.Result)
	}
}

func (r *replay) checkError(s *step, err error, want *message) {
	var data struct{ Type string }
	_ = json.Unmarshal(want.Error.Data, &data)
	var got *kurento.Error
	if !errors.As(err, &got) {
		r.t.Errorf("%s: error %v, recorded %d", s.raw, err, want.Error.Code)
		return
	}
	if w := (kurento.Error{Code: kurento.Code(want.Error.Code), Message: want.Error.Message, Type: data.Type}); *got != w {
		r.t.Errorf("%s: error %+v, recorded %+v", s.raw, *got, w)
	}
	if data.Type != "" && data.Type != "UNDEFINED" && got.Code.String() != data.Type {
		r.t.Errorf("code %d is named %s, KMS calls it %s", got.Code, got.Code, data.Type)
	}
}

// request makes the recorded request. It returns the result, nil if a typed
// method has decoded it and there is nothing to compare.
func (r *replay) request(s *step) (json.RawMessage, error) {
	if done, result, err := r.typed(s); done {
		return result, err
	}
	var result json.RawMessage
	var params any
	if len(s.msg.Params) > 0 {
		params = s.msg.Params
	}
	err := r.client.Call(context.Background(), *s.msg.Method, params, &result)
	return result, err
}

// typed makes the request through a typed method if there is one for it.
func (r *replay) typed(s *step) (done bool, result json.RawMessage, err error) {
	var p struct {
		Object            kurento.ObjectID
		Type              string
		Operation         string
		OperationParams   json.RawMessage
		ConstructorParams json.RawMessage
		Properties        json.RawMessage
	}
	if json.Unmarshal(s.msg.Params, &p) != nil {
		return false, nil, nil
	}
	ctx, c := context.Background(), r.client
	var value any
	switch method := *s.msg.Method; {
	case method == "create" && p.Type == "MediaPipeline" && p.ConstructorParams == nil:
		var pipeline kurento.MediaPipeline
		pipeline, err = c.CreateMediaPipeline(ctx)
		value = pipeline.ID()
	case method == "create" && p.Type == "WebRtcEndpoint" && isPlainEndpoint(p.ConstructorParams) && p.Properties == nil:
		var parent struct{ MediaPipeline kurento.ObjectID }
		_ = json.Unmarshal(p.ConstructorParams, &parent)
		var ep kurento.WebRtcEndpoint
		ep, err = c.MediaPipeline(parent.MediaPipeline).CreateWebRtcEndpoint(ctx, kurento.WebRtcEndpointOptions{})
		value = ep.ID()
	case method == "subscribe" && p.Object != "" && p.Type != "":
		_, err = c.Subscribe(ctx, p.Object, r.collector(p.Object, kurento.EventType(p.Type)), kurento.EventType(p.Type))
		return true, nil, err
	case method == "release" && p.Object != "":
		return true, nil, c.Release(ctx, p.Object)
	case method == "describe" && p.Object != "":
		var d kurento.Description
		d, err = c.Describe(ctx, p.Object)
		result, _ = json.Marshal(d)
		return true, result, err
	case method == "invoke":
		done, value, err = r.invoke(ctx, p.Object, p.Operation, p.OperationParams)
		if !done {
			return false, nil, nil
		}
	default:
		return false, nil, nil
	}
	if err == nil && value != nil {
		result, _ = json.Marshal(map[string]any{"value": value})
	}
	return true, result, err
}

func isPlainEndpoint(params json.RawMessage) bool {
	var members map[string]any
	_ = json.Unmarshal(params, &members)
	_, ok := members["mediaPipeline"].(string)
	return ok && len(members) == 1
}

// invoke calls the typed method of an operation; value is nil where the
// operation returns nothing.
func (r *replay) invoke(ctx context.Context, id kurento.ObjectID, operation string, params json.RawMessage) (done bool, value any, err error) {
	ep := r.client.WebRtcEndpoint(id)
	var p struct {
		Offer                 *string
		Candidate             *kurento.IceCandidate
		Sink                  kurento.ObjectID
		MediaType             kurento.MediaType
		TurnURL               *string
		MaxVideoRecvBandwidth *int
		MaxVideoSendBandwidth *int
		MinVideoSendBandwidth *int
	}
	decoder := json.NewDecoder(bytes.NewReader(params))
	decoder.DisallowUnknownFields()
	if len(params) > 0 && decoder.Decode(&p) != nil || id == "" {
		return false, nil, nil // deliberately wrong ones go through Call
	}
	kinds := []kurento.MediaType{p.MediaType}
	if p.MediaType == "" {
		kinds = nil
	}
	switch {
	case operation == "processOffer" && p.Offer != nil:
		value, err = ep.ProcessOffer(ctx, *p.Offer)
		return true, value, err
	case operation == "gatherCandidates":
		return true, nil, ep.GatherCandidates(ctx)
	case operation == "addIceCandidate" && p.Candidate != nil && hasAllMembers(params):
		return true, nil, ep.AddIceCandidate(ctx, *p.Candidate)
	case operation == "connect" && p.Sink != "":
		return true, nil, ep.Connect(ctx, p.Sink, kinds...)
	case operation == "disconnect" && p.Sink != "":
		return true, nil, ep.Disconnect(ctx, p.Sink, kinds...)
	case operation == "setTurnUrl" && p.TurnURL != nil:
		return true, nil, ep.SetTurnURL(ctx, *p.TurnURL)
	case operation == "setMaxVideoRecvBandwidth" && p.MaxVideoRecvBandwidth != nil:
		return true, nil, ep.SetMaxVideoRecvBandwidth(ctx, *p.MaxVideoRecvBandwidth)
	case operation == "setMaxVideoSendBandwidth" && p.MaxVideoSendBandwidth != nil:
		return true, nil, ep.SetMaxVideoSendBandwidth(ctx, *p.MaxVideoSendBandwidth)
	case operation == "setMinVideoSendBandwidth" && p.MinVideoSendBandwidth != nil:
		return true, nil, ep.SetMinVideoSendBandwidth(ctx, *p.MinVideoSendBandwidth)
	case operation == "getChildren" && len(params) == 0:
		value, err = ep.Children(ctx)
		return true, value, err
	case operation == "getPipelines" && len(params) == 0:
		value, err = r.client.ServerManager().Pipelines(ctx)
		return true, value, err
	case operation == "getStats" && len(params) == 0:
		value, err = ep.Stats(ctx)
		return true, value, err
	}
	return false, nil, nil
}

// hasAllMembers reports whether a recorded candidate is what the client sends:
// complete and without additions.
func hasAllMembers(params json.RawMessage) bool {
	var p struct{ Candidate map[string]any }
	_ = json.Unmarshal(params, &p)
	_, a := p.Candidate["candidate"].(string)
	_, b := p.Candidate["sdpMid"].(string)
	_, c := p.Candidate["sdpMLineIndex"].(float64)
	return a && b && c && len(p.Candidate) == 3
}

// collector notes the events of the first subscription of an object and type:
// KMS sends an event once however many there are.
func (r *replay) collector(object kurento.ObjectID, kind kurento.EventType) func(kurento.Event) {
	return func(ev kurento.Event) {
		if ev.Object != object || ev.Type != kind {
			r.t.Errorf("subscriber of %s of %s got %s of %s", kind, object, ev.Type, ev.Object)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, ev)
	}
}

// checkEvents compares what the handlers of each object got with what was
// recorded for them, in order.
func (r *replay) checkEvents(want []kurento.Event) {
	got, expected := byObject(r.events), byObject(want)
	if len(got) != len(expected) {
		r.t.Errorf("events of %d objects, recorded of %d", len(got), len(expected))
	}
	for object := range expected {
		same := slices.EqualFunc(dedupe(got[object]), expected[object], func(a, b kurento.Event) bool {
			return a.Type == b.Type && canonical(r.t, a.Data) == canonical(r.t, b.Data)
		})
		if !same {
			r.t.Errorf("%s: got %d events, recorded %d, or in another order", object, len(got[object]), len(expected[object]))
		}
	}
}

func byObject(events []kurento.Event) map[kurento.ObjectID][]kurento.Event {
	m := make(map[kurento.ObjectID][]kurento.Event)
	for _, ev := range events {
		m[ev.Object] = append(m[ev.Object], ev)
	}
	return m
}

// dedupe drops the copies that further subscriptions of one event received.
func dedupe(events []kurento.Event) []kurento.Event {
	return slices.CompactFunc(events, func(a, b kurento.Event) bool {
		return len(a.Data) > 0 && len(b.Data) > 0 && &a.Data[0] == &b.Data[0]
	})
}

func eventOf(t testing.TB, s *step) kurento.Event {
	var p struct{ Value kurento.Event }
	if err := json.Unmarshal(s.msg.Params, &p); err != nil {
		t.Fatal(err)
	}
	return p.Value
}

// TestTranscriptsCover fails when the recordings in testdata no longer show
// what the replay is there to prove.
func TestTranscriptsCover(t *testing.T) {
	seen := make(map[string]bool)
	for _, path := range transcripts(t) {
		for _, lines := range readTranscript(t, path) {
			for _, s := range newReplay(t, lines).steps {
				switch {
				case s.send:
				case s.msg.Method != nil:
					seen[string(eventOf(t, s).Type)] = true
				case s.msg.Error != nil:
					seen[fmt.Sprint(s.msg.Error.Code)] = true
				}
			}
		}
	}
	for _, what := range []string{
		"Error", "IceCandidateFound", "IceGatheringDone", "IceComponentStateChanged", "NewCandidatePairSelected",
		"DtlsConnectionStateChange", "ConnectionStateChanged", "MediaStateChanged", "MediaSessionStarted",
		"MediaFlowInStateChanged", "MediaFlowOutStateChanged", "MediaTranscodingStateChanged", "ElementConnected",
		"ElementDisconnected", "DataChannelOpened", "DataChannelClosed", "UriEndpointStateChanged", "Recording",
		"Paused", "Stopped", "ObjectCreated", "ObjectDestroyed",
		"-32601", "-32602", "-32603", "-32000", "40001", "40007", "40008", "40009", "40101", "40106", "40107",
		"40108", "40109", "40201", "40202", "40203", "40208", "40209", "40401",
	} {
		if !seen[what] {
			t.Errorf("no recording shows %s", what)
		}
	}
}
