package server

import (
	"fmt"
	"time"

	"github.com/callbench/callbench/signaling"
)

// outcome is what the conversation will say of a call that ends now, for this
// reason and by this member, nil if the server ends it.
func (c *call) outcome(reason signaling.Reason, by *member) signaling.Outcome {
	switch at := c.at(); {
	case at == stateActive, at == stateAccepting && reason != signaling.ReasonMediaFailed && reason != signaling.ReasonBusy:
		return signaling.OutcomeAccepted
	case reason == signaling.ReasonDeclined:
		return signaling.OutcomeDeclined
	case reason == signaling.ReasonBusy:
		return signaling.OutcomeBusy
	case reason == signaling.ReasonMediaFailed:
		return signaling.OutcomeFailed
	case reason == signaling.ReasonCancelled, by == c.caller:
		return signaling.OutcomeCancelled
	default: // nobody answered, the callee was lost, or the server shuts down
		return signaling.OutcomeMissed
	}
}

// post tells the conversation what became of the call, once.
func (c *call) post() {
	if c.posted {
		return
	}
	c.posted = true
	l := signaling.CallLog{CallID: c.callID, RoomID: c.id, Outcome: c.became}
	if l.Outcome == signaling.OutcomeAccepted {
		l.Duration = seconds(c.endedAt.Sub(c.answeredAt))
	}
	m := callMessage(c.caller.user, c.to, l)
	m.MessageID = c.callID // should another server tell of it once more
	c.srv.post(m)
}

// missed tells a user that it was called and could not be reached, or was in
// another call. Only it is told: the caller knows from its request's refusal.
func (s *Server) missed(from, to, callID string, why signaling.Code) {
	at := time.Now()
	s.postbox(to).queue.Do(func() { s.recordMissed(from, to, callID, why, at) })
	s.postTo(callMessage(from, to, signaling.CallLog{CallID: callID, Outcome: signaling.OutcomeMissed}), to)
}

func callMessage(from, to string, l signaling.CallLog) signaling.Message {
	return signaling.Message{From: from, To: to, Content: words(l), Call: &l}
}

// words says what became of a call to whoever does not read Message.Call.
func words(l signaling.CallLog) string {
	switch l.Outcome {
	case signaling.OutcomeAccepted:
		return "Call, " + clock(time.Duration(l.Duration)*time.Second)
	case signaling.OutcomeDeclined:
		return "Call declined"
	case signaling.OutcomeCancelled:
		return "Call cancelled"
	case signaling.OutcomeBusy:
		return "Call not taken: busy"
	case signaling.OutcomeFailed:
		return "Call failed"
	default:
		return "Missed call"
	}
}

// clock writes a duration as 1:05, or 1:02:05 if it is an hour or more.
func clock(d time.Duration) string {
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	if h > 0 {
		return fmt.Sprintf("%d:%02d:%02d", h, m, s)
	}
	return fmt.Sprintf("%d:%02d", m, s)
}
