package simclient

import (
	"log/slog"
	"slices"
	"strings"

	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/signaling"
)

// maxBatch is how many candidates go in one frame, far below its size limit.
const maxBatch = 32

// sendOffer sends a leg's offer. An answer does not say which offer it is for,
// but a server handles the offers of a call in order, so the oldest one that
// was not refused is meant.
func (l *leg) sendOffer(rtc signaling.RTC) {
	k := l.call
	failed := func(error) { k.offers = slices.DeleteFunc(k.offers, func(o *leg) bool { return o == l }) }
	l.c.request(&request{call: k, leg: l, late: failed, done: func(_ signaling.Frame, err error) {
		if err != nil {
			failed(err)
		}
	}}, signaling.TypeRTC, signaling.ActionOffer, rtc)
}

// onSDPAnswer takes the media server's answer. That to a leg which has been
// replaced meanwhile is of no use.
func (c *Client) onSDPAnswer(k *call, sdp string) {
	if len(k.offers) == 0 {
		c.violation(k, violationAnswer)
		return
	}
	l := k.offers[0]
	k.offers = k.offers[1:]
	if l == k.leg {
		l.setAnswer(sdp)
	}
}

// onLocalCandidate sends a candidate; nil says that there are no more.
func (l *leg) onLocalCandidate(candidate *webrtc.ICECandidate) {
	typ := "end"
	if candidate != nil {
		typ = candidate.Typ.String()
		l.gathered++
		if candidate.Typ == webrtc.ICECandidateTypeRelay {
			l.relayed++
		}
	} else {
		l.event(eventGathered, slog.Int("candidates", l.gathered), slog.Int("relay", l.relayed))
	}
	written := l.written.write(candidate, l.ufrag, l.answered)
	l.c.callLog(slog.LevelDebug, l.call, eventTrickled, slog.Int("n", l.gathered), slog.String("type", typ),
		slog.Int("written", len(written)), slog.Int("leg", l.n))
	for _, w := range written {
		l.sendCandidate(w)
	}
	if candidate == nil {
		l.c.relaysGathered(l)
	}
}

// sendCandidate sends a candidate by itself, or in a batch: the first one waits
// for others, and the last one for nobody.
func (l *leg) sendCandidate(candidate signaling.ICECandidate) {
	if l.c.cfg.Batch == 0 {
		rtc := l.call.ref()
		rtc.Candidate, rtc.SDPMid = candidate.Candidate, candidate.SDPMid
		rtc.SDPMLineIndex, rtc.UsernameFragment = candidate.SDPMLineIndex, candidate.UsernameFragment
		l.ask(signaling.ActionCandidate, rtc, func(error) {})
		return
	}
	l.batch = append(l.batch, candidate)
	switch {
	case candidate.Candidate == "" || len(l.batch) == maxBatch:
		l.sendBatch()
	case !l.flush.pending():
		l.flush = l.c.after(l.c.cfg.Batch, func() { l.do(l.sendBatch) })
	}
}

func (l *leg) sendBatch() {
	l.flush.stop()
	rtc := l.call.ref()
	rtc.Candidates, l.batch = l.batch, nil
	l.ask(signaling.ActionCandidate, rtc, func(error) {})
}

// onCandidates takes candidates of the media server.
func (c *Client) onCandidates(k *call, rtc signaling.RTC) {
	if k.leg == nil {
		return
	}
	for _, candidate := range rtc.Batch() {
		c.onCandidate(k, k.leg, candidate)
	}
}

func (c *Client) onCandidate(k *call, l *leg, candidate signaling.ICECandidate) {
	l.remote++
	component, typ := describe(candidate.Candidate)
	ignored := ""
	switch {
	case len(k.offers) > 0 && k.offers[0] != l:
		ignored = "replaced_leg"
	case typ == "unknown":
		ignored = "malformed"
	case component != "1" && typ != "end":
		// RTP and RTCP share a transport (RFC 8834 §4.5), so nobody listens behind the
		// second component, though it answers ICE. A browser discards it; Pion would not,
		// and DTLS would never finish if that pair came first.
		ignored = "component"
	}
	attrs := []slog.Attr{slog.Int("n", l.remote), slog.String("type", typ), slog.Int("leg", l.n)}
	if ignored != "" {
		attrs = append(attrs, slog.String("ignored", ignored))
	}
	c.callLog(slog.LevelDebug, k, eventTrickle, attrs...)
	if ignored == "" {
		l.addRemote(webrtc.ICECandidateInit{Candidate: candidate.Candidate, SDPMid: &candidate.SDPMid})
	}
}

// describe reads component and type from a candidate-attribute (RFC 8839
// §5.1). The type of an empty one is "end".
func describe(candidate string) (component, typ string) {
	fields := strings.Fields(candidate)
	if len(fields) == 0 {
		return "", "end"
	}
	if i := slices.Index(fields, "typ"); i > 1 && i+1 < len(fields) {
		return fields[1], fields[i+1]
	}
	return "", "unknown"
}
