package simclient

import (
	"log/slog"
	"slices"
	"strings"

	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/signaling"
)

// sendOffer sends a leg's offer. An answer does not say which offer it is for,
// but a server handles the offers of a call in order, so the oldest one that
// was not refused is meant.
func (l *leg) sendOffer(rtc signaling.RTC) {
	k := l.call
	l.ask(signaling.ActionOffer, rtc, func(err error) {
		if err != nil {
			k.offers = slices.DeleteFunc(k.offers, func(o *leg) bool { return o == l })
		}
	})
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

// mediaLost makes a leg anew that lost its media for good, as soon as a pong has
// shown that the signaling connection is alive.
func (c *Client) mediaLost(k *call) {
	k.renew = true
	c.probe()
}

// onLocalCandidate sends a candidate; nil says that there are no more.
func (l *leg) onLocalCandidate(candidate *webrtc.ICECandidate) {
	rtc := l.call.ref()
	first := 0
	rtc.SDPMid, rtc.SDPMLineIndex = "0", &first
	typ := "end"
	if candidate != nil {
		init := candidate.ToJSON()
		rtc.Candidate, typ = init.Candidate, candidate.Typ.String()
		l.gathered++
		if candidate.Typ == webrtc.ICECandidateTypeRelay {
			l.relayed++
		}
	} else {
		l.event(eventGathered, slog.Int("candidates", l.gathered), slog.Int("relay", l.relayed))
	}
	if l.c.cfg.Profile.UsernameFragment {
		rtc.UsernameFragment = l.ufrag
	}
	l.c.callLog(slog.LevelDebug, l.call, eventTrickled, slog.Int("n", l.gathered), slog.String("type", typ), slog.Int("leg", l.n))
	l.ask(signaling.ActionCandidate, rtc, func(error) {})
	if candidate == nil {
		l.c.relaysGathered(l)
	}
}

// onCandidate takes a candidate of the media server.
func (c *Client) onCandidate(k *call, rtc signaling.RTC) {
	l := k.leg
	if l == nil {
		return
	}
	l.remote++
	component, typ := describe(rtc.Candidate)
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
		l.addRemote(webrtc.ICECandidateInit{Candidate: rtc.Candidate, SDPMid: &rtc.SDPMid})
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
