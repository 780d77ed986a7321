package conform

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// noPeer is the note that no live peer made an offer.
const noPeer = "no peer"

// flowPatience is how long before MediaFlowOut NOT_FLOWING a peer has stopped to
// send: 2 s by Kurento's clock, and half of what that clock may add.
const flowPatience = 3 * time.Second

// reveal returns a recording that was made between client and server with notes
// on its peers, as far as the server's events tell of them:
//
//   - an offer was a live peer's if its endpoint came to be connected. If the
//     client watched no event that tells, it was if it had candidates.
//   - the peer sent a medium while MediaFlowOut of its endpoint was FLOWING, and
//     some time longer; if the client did not watch that, it sent all media from
//     the time at which it was connected.
//   - it has closed its connection if DTLS is CLOSED without a release.
func reveal(lines []transcript.Line) []transcript.Line {
	if !slices.ContainsFunc(lines, func(l transcript.Line) bool { return l.Note == transcript.PeersUnseen }) {
		return lines
	}
	s := &sight{lines: lines, asked: map[string]*offerSeen{}, byObject: map[string]*offerSeen{}, watched: map[string]bool{}}
	for i := range lines {
		s.look(i)
	}
	return s.noted()
}

// An offerSeen is a processOffer in the recording and what came of it.
type offerSeen struct {
	line, candidates int // where it and its first candidate are; -1: none came
	live             bool
}

// A remark is a note to put before a line.
type remark struct {
	line int
	note transcript.Line
	of   *offerSeen // whose peer it is about
}

type sight struct {
	lines    []transcript.Line
	offers   []*offerSeen
	asked    map[string]*offerSeen // by connection and id of the request
	byObject map[string]*offerSeen // the last one that was answered
	watched  map[string]bool       // "object type" that were subscribed to
	remarks  []remark
}

// seen is what reveal needs of a frame.
type seen struct {
	ID     json.RawMessage
	Method string
	Result json.RawMessage
	Params struct {
		Object, Operation, Type string
		OperationParams         struct{ Offer string }
		Value                   struct {
			Object, Type string
			Data         struct{ State, NewState, MediaType string }
		}
	}
}

func (s *sight) look(i int) {
	l := &s.lines[i]
	var m seen
	if l.Dir == transcript.Note || json.Unmarshal([]byte(l.Frame()), &m) != nil {
		return
	}
	key := l.Conn + " " + string(m.ID)
	switch {
	case l.Dir == transcript.Send:
		s.request(i, key, &m)
	case m.Method == "onEvent":
		s.event(i, &m)
	case s.asked[key] != nil && len(m.Result) == 0: // an error: the endpoint has no offer of it
		s.asked[key].candidates = -1
		for object, o := range s.byObject {
			if o == s.asked[key] {
				delete(s.byObject, object)
			}
		}
	}
}

func (s *sight) request(i int, key string, m *seen) {
	object := m.Params.Object
	switch {
	case m.Method == "subscribe":
		s.watched[object+" "+m.Params.Type] = true
	case m.Method == "release":
		for o := range s.byObject {
			if strings.HasPrefix(o, object) {
				delete(s.byObject, o)
			}
		}
	case m.Params.Operation == "processOffer" && m.Params.OperationParams.Offer != "":
		o := &offerSeen{line: i, candidates: -1}
		s.offers, s.asked[key] = append(s.offers, o), o
		if s.byObject[object] == nil { // a second one is refused
			s.byObject[object] = o
		}
	case m.Params.Operation == "addIceCandidate":
		if o := s.byObject[object]; o != nil && o.candidates < 0 {
			o.candidates = i
			if !s.watchedAny(object) {
				s.alive(i, object, o)
			}
		}
	}
}

// telling are the events that tell that a peer is connected, with their states.
var telling = map[string][]string{
	"IceComponentStateChanged":  {"CONNECTED", "READY"},
	"NewCandidatePairSelected":  {""},
	"DtlsConnectionStateChange": {"CONNECTED"},
	"ConnectionStateChanged":    {"CONNECTED"},
	"MediaStateChanged":         {"CONNECTED"},
	"MediaFlowOutStateChanged":  {"FLOWING"},
	"DataChannelOpened":         {""},
}

func (s *sight) watchedAny(object string) bool {
	for typ := range telling {
		if s.watched[object+" "+typ] {
			return true
		}
	}
	return false
}

// alive notes that an offer was a live peer's.
func (s *sight) alive(i int, object string, o *offerSeen) {
	if o.live {
		return
	}
	o.live = true
	if !s.watched[object+" MediaFlowOutStateChanged"] {
		s.remark(i, o, transcript.Line{Note: "peer starts sending media"})
	}
}

func (s *sight) event(i int, m *seen) {
	v := m.Params.Value
	o := s.byObject[v.Object]
	if o == nil {
		return
	}
	if states, tells := telling[v.Type]; tells && slices.Contains(states, v.Data.State+v.Data.NewState) {
		s.alive(i, v.Object, o)
	}
	medium := strings.ToLower(v.Data.MediaType)
	switch v.Type + " " + v.Data.State {
	case "MediaFlowOutStateChanged FLOWING":
		s.remark(i, o, transcript.Line{Note: "peer starts sending media", Text: medium})
	case "MediaFlowOutStateChanged NOT_FLOWING":
		at := s.lines[i].Duration() - flowPatience
		before := slices.IndexFunc(s.lines, func(l transcript.Line) bool { return l.Duration() > at })
		s.remark(max(before, o.line+1), o, transcript.Line{Note: "peer stops sending media", Text: medium})
	case "DtlsConnectionStateChange CLOSED":
		s.remark(i, o, transcript.Line{Note: "peer connection closed"})
	}
}

func (s *sight) remark(before int, o *offerSeen, note transcript.Line) {
	note.Dir, note.At = transcript.Note, s.lines[before].At
	s.remarks = append(s.remarks, remark{before, note, o})
}

// noted puts the remarks into the recording. Peers are P1, P2… in the order of
// their offers.
func (s *sight) noted() []transcript.Line {
	names := map[*offerSeen]string{}
	for n, o := range s.offers {
		names[o] = fmt.Sprintf("P%d", n+1)
		note := transcript.Line{Note: noPeer}
		if o.live {
			note.Note = "peer gathering complete"
		}
		s.remark(o.line, o, note)
	}
	slices.SortStableFunc(s.remarks, func(a, b remark) int { return a.line - b.line })
	out := make([]transcript.Line, 0, len(s.lines)+len(s.remarks))
	for i, l := range s.lines {
		for len(s.remarks) > 0 && s.remarks[0].line == i {
			note := s.remarks[0].note
			note.Number, note.Peer = l.Number, names[s.remarks[0].of]
			out, s.remarks = append(out, note), s.remarks[1:]
		}
		out = append(out, l)
	}
	return out
}

// mediaOf are the media that a note names; none means all.
func mediaOf(l *transcript.Line) []string {
	if l.Text == "" {
		return nil
	}
	return strings.Split(l.Text, ",")
}
