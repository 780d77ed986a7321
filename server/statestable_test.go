package server_test

import (
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// callStates are the columns of the table.
var callStates = []string{"none", "dialing", "ringing", "accepting", "active", "ending", "ended"}

// row is an event and what it does in each of the states.
type row struct {
	event  string
	second bool // E has a second device, F
	do     func(p *play)
	tune   func(c *server.Config)
	ready  func(p *play) // before the event
	cells  [7]string
}

func request(who func(p *play) *client, a signaling.Action) func(p *play) {
	return func(p *play) { p.ask(who(p), a, p.ref) }
}

func caller(p *play) *client { return p.c }
func callee(p *play) *client { return p.e }
func third(p *play) *client  { return p.t }
func second(p *play) *client { return p.f[0] }

func calls(who func(p *play) *client, target string) func(p *play) {
	return func(p *play) { p.ask(who(p), signaling.ActionCall, signaling.RTC{TargetUser: target}) }
}

func offers(who func(p *play) *client) func(p *play) {
	return func(p *play) {
		data := p.ref
		data.SDP = sdpOffer
		p.ask(who(p), signaling.ActionOffer, data)
	}
}

func trickles(who func(p *play) *client) func(p *play) {
	return func(p *play) {
		data := p.ref
		data.Candidate = hostCandidate
		p.ask(who(p), signaling.ActionCandidate, data)
	}
}

func loses(endpoint string) func(p *play) {
	return func(p *play) { p.media(endpoint, server.MediaEvent{Kind: server.MediaLost}) }
}

func dtlsTimesOut(p *play) {
	for _, e := range []string{"p1.e1", "p1.e2"} {
		p.media(e, server.MediaEvent{Kind: server.MediaICE, Component: 1, State: server.StateConnected})
	}
	time.Sleep(short)
}

// table is every event in every state. docs/calls.md says how to read it.
var table = []row{
	{event: "C calls E", do: calls(caller, "bob"), cells: [7]string{
		"ack; new call ringing; E ← rtc_invite",
		"busy",
		"busy",
		"busy",
		"busy",
		"ack; new call ringing; E ← rtc_invite",
		"ack; new call ringing; E ← rtc_invite",
	}},
	{event: "E calls C", do: calls(callee, "alice"), cells: [7]string{
		"ack; new call ringing; C ← rtc_invite",
		"busy",
		"busy",
		"busy",
		"busy",
		"ack; new call ringing; C ← rtc_invite",
		"ack; new call ringing; C ← rtc_invite",
	}},
	{event: "T calls E", do: calls(third, "bob"), cells: [7]string{
		"ack; new call ringing; E ← rtc_invite",
		"busy; E ← message missed",
		"busy; E ← message missed",
		"busy; E ← message missed",
		"busy; E ← message missed",
		"ack; new call ringing; E ← rtc_invite",
		"ack; new call ringing; E ← rtc_invite",
	}},
	{event: "E: `ringing`", do: request(callee, signaling.ActionRinging), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"ack; C ← ringing",
		"bad_state",
		"bad_state",
		"bad_state",
		"no_such_call",
	}},
	{event: "E: `answer`", do: request(callee, signaling.ActionAnswer), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"ack; → active; C ← answer",
		"bad_state",
		"bad_state",
		"bad_state",
		"no_such_call",
	}},
	{event: "E: `join`", do: request(callee, signaling.ActionJoin), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"ack; → active; C ← answer",
		"bad_state",
		"ack",
		"bad_state",
		"no_such_call",
	}},
	{event: "E: `reject`", do: request(callee, signaling.ActionReject), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"ack; → ending; C ← ended declined, message declined; E ← message declined",
		"bad_state",
		"bad_state",
		"ack; → ended",
		"no_such_call",
	}},
	{event: "E: `busy`", do: request(callee, signaling.ActionBusy), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"ack; → ending; C ← ended busy, message busy; E ← message busy",
		"bad_state",
		"bad_state",
		"ack; → ended",
		"no_such_call",
	}},
	{event: "C: `cancel`", do: request(caller, signaling.ActionCancel), cells: [7]string{
		"no_such_call",
		"later: ack; call: ack; → ended; C ← message cancelled; E ← message cancelled",
		"ack; → ending; C ← message cancelled; E ← ended cancelled, message cancelled",
		"→ ending; later: ack; answer: no_such_call; C ← message accepted; E ← ended hangup, message accepted",
		"ack; → ending; C ← message accepted; E ← ended hangup, message accepted",
		"no_such_call",
		"no_such_call",
	}},
	{event: "C: `leave`", do: request(caller, signaling.ActionLeave), cells: [7]string{
		"no_such_call",
		"later: ack; call: ack; → ended; C ← message cancelled; E ← message cancelled",
		"ack; → ending; C ← message cancelled; E ← ended cancelled, message cancelled",
		"→ ending; later: ack; answer: no_such_call; C ← message accepted; E ← ended hangup, message accepted",
		"ack; → ending; C ← message accepted; E ← ended hangup, message accepted",
		"no_such_call",
		"no_such_call",
	}},
	{event: "E: `leave`", do: request(callee, signaling.ActionLeave), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"ack; → ending; C ← ended declined, message declined; E ← message declined",
		"→ ending; later: ack; answer: no_such_call; C ← ended hangup, message accepted; E ← message accepted",
		"ack; → ending; C ← ended hangup, message accepted; E ← message accepted",
		"ack; → ended",
		"no_such_call",
	}},
	{event: "C: `offer`", do: offers(caller), cells: [7]string{
		"no_such_call",
		"bad_state",
		"bad_state",
		"bad_state",
		"ack; C ← answer with SDP",
		"no_such_call",
		"no_such_call",
	}},
	{event: "E: `offer`", do: offers(callee), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"bad_state",
		"later: ack; answer: ack; → active; C ← answer; E ← answer with SDP",
		"ack; E ← answer with SDP",
		"bad_state",
		"no_such_call",
	}},
	{event: "C: `candidate`", do: trickles(caller), cells: [7]string{
		"no_such_call",
		"bad_state",
		"bad_state",
		"bad_state",
		"ack",
		"no_such_call",
		"no_such_call",
	}},
	{event: "E: `candidate`", do: trickles(callee), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"bad_state",
		"ack",
		"ack",
		"bad_state",
		"no_such_call",
	}},
	{event: "C: `ringing`", do: request(caller, signaling.ActionRinging), cells: [7]string{
		"no_such_call",
		"bad_state",
		"bad_state",
		"bad_state",
		"bad_state",
		"no_such_call",
		"no_such_call",
	}},
	{event: "C: `answer`", do: request(caller, signaling.ActionAnswer), cells: [7]string{
		"no_such_call",
		"bad_state",
		"bad_state",
		"bad_state",
		"bad_state",
		"no_such_call",
		"no_such_call",
	}},
	{event: "C: `reject`", do: request(caller, signaling.ActionReject), cells: [7]string{
		"no_such_call",
		"bad_state",
		"bad_state",
		"bad_state",
		"bad_state",
		"no_such_call",
		"no_such_call",
	}},
	{event: "C: `busy`", do: request(caller, signaling.ActionBusy), cells: [7]string{
		"no_such_call",
		"bad_state",
		"bad_state",
		"bad_state",
		"bad_state",
		"no_such_call",
		"no_such_call",
	}},
	{event: "E: `cancel`", do: request(callee, signaling.ActionCancel), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"bad_state",
		"bad_state",
		"bad_state",
		"ack; → ended",
		"no_such_call",
	}},
	{event: "C: `join`", do: request(caller, signaling.ActionJoin), cells: [7]string{
		"no_such_call",
		"bad_state",
		"ack",
		"ack",
		"ack",
		"no_such_call",
		"no_such_call",
	}},
	{event: "T: `join`", do: request(third, signaling.ActionJoin), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"no_such_call",
		"no_such_call",
		"no_such_call",
		"no_such_call",
		"no_such_call",
	}},
	{event: "T: `leave`", do: request(third, signaling.ActionLeave), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"no_such_call",
		"no_such_call",
		"no_such_call",
		"no_such_call",
		"no_such_call",
	}},
	{event: "F: `answer`", second: true, do: request(second, signaling.ActionAnswer), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"ack; → active; C ← answer; E ← ended answered_elsewhere",
		"bad_state",
		"bad_state",
		"bad_state",
		"no_such_call",
	}},
	{event: "F: `reject`", second: true, do: request(second, signaling.ActionReject), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"ack; → ending; C ← ended declined, message declined; E ← ended declined_elsewhere, message declined; F ← message declined",
		"ack",
		"ack",
		"ack",
		"no_such_call",
	}},
	{event: "F: `busy`", second: true, do: request(second, signaling.ActionBusy), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"ack",
		"ack",
		"ack",
		"ack",
		"no_such_call",
	}},
	{event: "F: `leave`", second: true, do: request(second, signaling.ActionLeave), cells: [7]string{
		"no_such_call",
		"no_such_call",
		"ack; → ending; C ← ended declined, message declined; E ← ended declined_elsewhere, message declined; F ← message declined",
		"ack",
		"ack",
		"ack",
		"no_such_call",
	}},
	{event: "F calls T", second: true, do: calls(second, "carol"), cells: [7]string{
		"ack; new call ringing; T ← rtc_invite",
		"busy",
		"busy",
		"busy",
		"busy",
		"ack; new call ringing; T ← rtc_invite",
		"ack; new call ringing; T ← rtc_invite",
	}},
	{event: "F's session begins", ready: func(p *play) { p.e.receives() }, do: func(p *play) { p.second() }, cells: [7]string{
		"nothing",
		"later: call: ack; → ringing; E ← rtc_invite; F ← rtc_invite",
		"F ← rtc_invite",
		"nothing",
		"nothing",
		"nothing",
		"nothing",
	}},
	{event: "F's session ends", second: true, do: func(p *play) { p.bye(second(p)) }, cells: [7]string{
		"nothing",
		"later: call: ack; → ringing; E ← rtc_invite",
		"nothing",
		"nothing",
		"nothing",
		"nothing",
		"nothing",
	}},
	{event: "E's session ends, E has F", second: true, do: func(p *play) { p.bye(p.e) }, cells: [7]string{
		"nothing",
		"later: call: ack; → ringing; F ← rtc_invite",
		"nothing",
		"→ ending; later: C ← ended dropped, message accepted; F ← message accepted",
		"→ ending; C ← ended dropped, message accepted; F ← message accepted",
		"→ ended",
		"nothing",
	}},
	{event: "C: `cancel`, E has F", second: true, do: request(caller, signaling.ActionCancel), cells: [7]string{
		"no_such_call",
		"later: ack; call: ack; → ended; C ← message cancelled; E ← message cancelled; F ← message cancelled",
		"ack; → ending; C ← message cancelled; E ← ended cancelled, message cancelled; F ← ended cancelled, message cancelled",
		"→ ending; later: ack; answer: no_such_call; C ← message accepted; E ← ended hangup, message accepted; F ← message accepted",
		"ack; → ending; C ← message accepted; E ← ended hangup, message accepted; F ← message accepted",
		"no_such_call",
		"no_such_call",
	}},
	{event: "ring time-out", do: func(*play) { time.Sleep(short) }, tune: func(c *server.Config) { c.RingTimeout = short }, cells: [7]string{
		"nothing",
		"nothing",
		"→ ending; C ← ended no_answer, message missed; E ← ended no_answer, message missed",
		"nothing",
		"nothing",
		"nothing",
		"nothing",
	}},
	{event: "C's connection is lost", do: func(p *play) { p.lose(p.c) }, cells: [7]string{
		"nothing",
		"later: → ringing; E ← rtc_invite",
		"nothing",
		"later: answer: ack; → active; E ← reconnecting",
		"E ← reconnecting",
		"nothing",
		"nothing",
	}},
	{event: "C's connection is back", ready: func(p *play) { p.lose(p.c) }, do: func(p *play) { p.back(p.c) }, cells: [7]string{
		"nothing",
		"nothing",
		"nothing",
		"nothing",
		"E ← reconnected",
		"nothing",
		"nothing",
	}},
	{event: "E's connection is lost", do: func(p *play) { p.lose(p.e) }, cells: [7]string{
		"nothing",
		"later: call: ack; → ringing",
		"nothing",
		"later: → active; C ← answer, reconnecting",
		"C ← reconnecting",
		"nothing",
		"nothing",
	}},
	{event: "E's connection is back", ready: func(p *play) { p.lose(p.e) }, do: func(p *play) { p.back(p.e) }, cells: [7]string{
		"nothing",
		"nothing",
		"nothing",
		"nothing",
		"C ← reconnected",
		"nothing",
		"nothing",
	}},
	{event: "C's session ends", do: func(p *play) { p.bye(p.c) }, cells: [7]string{
		"nothing",
		"later: → ended; E ← message cancelled",
		"→ ending; E ← ended dropped, message cancelled",
		"→ ending; later: answer: no_such_call; E ← ended dropped, message accepted",
		"→ ending; E ← ended dropped, message accepted",
		"nothing",
		"nothing",
	}},
	{event: "E's session ends", do: func(p *play) { p.bye(p.e) }, cells: [7]string{
		"nothing",
		"later: call: ack; → ending; C ← ended dropped, message missed",
		"→ ending; C ← ended dropped, message missed",
		"→ ending; later: C ← ended dropped, message accepted",
		"→ ending; C ← ended dropped, message accepted",
		"→ ended",
		"nothing",
	}},
	{event: "K loses C's endpoint", do: loses("p1.e1"), cells: [7]string{
		"nothing",
		"later: call: ack; → ending; C ← ended media_failed, message failed; E ← message failed",
		"→ ending; C ← ended media_failed, message failed; E ← ended media_failed, message failed",
		"→ ending; C ← ended media_failed, message failed; E ← ended media_failed, message failed; later: answer: no_such_call",
		"C ← negotiate media_restarted; E ← negotiate media_restarted",
		"nothing",
		"nothing",
	}},
	{event: "K loses E's endpoint", do: loses("p1.e2"), cells: [7]string{
		"nothing",
		"nothing",
		"nothing",
		"→ ending; C ← ended media_failed, message failed; E ← ended media_failed, message failed; later: answer: no_such_call",
		"C ← negotiate media_restarted; E ← negotiate media_restarted",
		"nothing",
		"nothing",
	}},
	{event: "DTLS time-out of both legs", do: dtlsTimesOut, tune: func(c *server.Config) { c.DTLSTimeout = short }, cells: [7]string{
		"nothing",
		"nothing",
		"nothing",
		"nothing",
		"C ← negotiate dtls_timeout; E ← negotiate dtls_timeout",
		"nothing",
		"nothing",
	}},
	{event: "confirm time-out", do: func(*play) { time.Sleep(short) }, tune: func(c *server.Config) { c.ConfirmTimeout = short }, cells: [7]string{
		"nothing",
		"nothing",
		"nothing",
		"nothing",
		"nothing",
		"→ ended",
		"nothing",
	}},
	{event: "S shuts down", do: func(p *play) { p.w.stop() }, cells: [7]string{
		"nothing",
		"later: call: ack; → ended; C ← ended dropped, message missed; E ← message missed",
		"→ ended; C ← ended dropped, message missed; E ← ended dropped, message missed",
		"→ ending; C ← ended dropped, message accepted; E ← ended dropped, message accepted; later: answer: no_such_call; → ended",
		"→ ended; C ← ended dropped, message accepted; E ← ended dropped, message accepted",
		"→ ended",
		"nothing",
	}},
}
