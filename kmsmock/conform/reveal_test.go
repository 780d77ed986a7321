package conform

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// A proxied is a recording without peers, that is being written.
type proxied struct {
	lines []transcript.Line
	id    int
}

func (p *proxied) add(dir, frame string) {
	p.lines = append(p.lines, transcript.Line{Number: len(p.lines) + 1, Dir: dir, At: float64(len(p.lines)) * 1000, Conn: "A", Msg: json.RawMessage(frame)})
}

func (p *proxied) ask(object, operation, args string, fails bool) {
	p.id++
	method := fmt.Sprintf(`"method":"invoke","params":{"object":%q,"operation":%q,"operationParams":%s}`, object, operation, args)
	if operation == "release" || operation == "subscribe" {
		method = fmt.Sprintf(`"method":%q,"params":{"object":%q,"type":%q}`, operation, object, args)
	}
	p.add(transcript.Send, fmt.Sprintf(`{"id":%d,"jsonrpc":"2.0",%s}`, p.id, method))
	result := map[bool]string{false: `"result":{"value":"x"}`, true: `"error":{"code":40208}`}[fails]
	p.add(transcript.Recv, fmt.Sprintf(`{"id":%d,"jsonrpc":"2.0",%s}`, p.id, result))
}

func (p *proxied) event(object, typ, data string) {
	p.add(transcript.Recv, fmt.Sprintf(`{"jsonrpc":"2.0","method":"onEvent","params":{"value":{"object":%q,"type":%q,"data":%s}}}`, object, typ, data))
}

// revealed are the notes that are put into it, each with the line that follows.
func (p *proxied) revealed() []string {
	var out []string
	p.lines = append(p.lines, transcript.Line{Number: len(p.lines) + 1, Dir: transcript.Note, Note: transcript.PeersUnseen})
	for _, l := range reveal(p.lines) {
		if l.Peer != "" {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%d %s %s %s", l.Number, l.Peer, l.Note, l.Text)))
		}
	}
	return out
}

func TestReveal(t *testing.T) {
	const offer, candidate = `{"offer":"v=0"}`, `{"candidate":{"candidate":"candidate:1"}}`
	for name, c := range map[string]struct {
		record func(p *proxied)
		want   []string
	}{
		"nobody there": {func(p *proxied) {
			p.ask("a", "subscribe", "IceComponentStateChanged", false)
			p.ask("a", "processOffer", offer, false)
			p.ask("a", "addIceCandidate", candidate, false)
			p.event("a", "IceComponentStateChanged", `{"state":"FAILED"}`)
		}, []string{"3 P1 no peer"}},
		"sends what flows": {func(p *proxied) {
			p.ask("a", "subscribe", "MediaFlowOutStateChanged", false)
			p.ask("a", "processOffer", offer, false)
			p.event("a", "MediaStateChanged", `{"newState":"CONNECTED","oldState":"DISCONNECTED"}`)
			p.event("a", "MediaFlowOutStateChanged", `{"mediaType":"AUDIO","state":"FLOWING"}`)
			p.event("a", "MediaFlowOutStateChanged", `{"mediaType":"VIDEO","state":"FLOWING"}`)
			p.ask("a", "getName", "{}", false)
			p.event("a", "MediaFlowOutStateChanged", `{"mediaType":"VIDEO","state":"NOT_FLOWING"}`)
		}, []string{"3 P1 peer gathering complete", "6 P1 peer starts sending media audio", "7 P1 peer starts sending media video",
			"8 P1 peer stops sending media video"}},
		"flows are not watched": {func(p *proxied) {
			p.ask("a", "subscribe", "ConnectionStateChanged", false)
			p.ask("a", "processOffer", offer, false)
			p.ask("a", "addIceCandidate", candidate, false)
			p.event("a", "ConnectionStateChanged", `{"newState":"CONNECTED","oldState":"DISCONNECTED"}`)
		}, []string{"3 P1 peer gathering complete", "7 P1 peer starts sending media"}},
		"nothing is watched": {func(p *proxied) {
			p.ask("a", "processOffer", offer, false)
			p.ask("b", "processOffer", offer, false)
			p.ask("b", "addIceCandidate", candidate, false)
		}, []string{"1 P1 no peer", "3 P2 peer gathering complete", "5 P2 peer starts sending media"}},
		"a second offer is refused": {func(p *proxied) {
			p.ask("a", "processOffer", offer, false)
			p.ask("a", "processOffer", offer, true)
			p.event("a", "DtlsConnectionStateChange", `{"state":"CONNECTED"}`)
			p.event("a", "DtlsConnectionStateChange", `{"state":"CLOSED"}`)
		}, []string{"1 P1 peer gathering complete", "3 P2 no peer", "5 P1 peer starts sending media", "6 P1 peer connection closed"}},
		"the first offer is refused": {func(p *proxied) {
			p.ask("a", "processOffer", offer, true)
			p.ask("a", "processOffer", offer, false)
			p.event("a", "NewCandidatePairSelected", `{}`)
		}, []string{"1 P1 no peer", "3 P2 peer gathering complete", "5 P2 peer starts sending media"}},
		"closed by a release": {func(p *proxied) {
			p.ask("a/b", "processOffer", offer, false)
			p.event("a/b", "DtlsConnectionStateChange", `{"state":"CONNECTED"}`)
			p.ask("a", "release", "", false)
			p.event("a/b", "DtlsConnectionStateChange", `{"state":"CLOSED"}`)
		}, []string{"1 P1 peer gathering complete", "3 P1 peer starts sending media"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &proxied{}
			c.record(p)
			if got := p.revealed(); !slices.Equal(got, c.want) {
				t.Errorf("revealed %q, want %q", got, c.want)
			}
		})
	}
	seen := []transcript.Line{{Number: 1, Dir: transcript.Send, Msg: json.RawMessage(`{"id":1,"params":{"operation":"processOffer","operationParams":{"offer":"v=0"}}}`)}}
	if got := reveal(seen); len(got) != 1 {
		t.Errorf("a recording that saw its peers becomes %+v", got)
	}
}
