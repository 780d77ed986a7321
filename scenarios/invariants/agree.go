package invariants

import (
	"fmt"
	"slices"

	"github.com/callbench/callbench/signaling"
)

// outcomes are what the conversation may say of a call that ended for a reason.
// The others' it says nothing about.
var outcomes = map[signaling.Reason][]signaling.Outcome{
	signaling.ReasonHangup:      {signaling.OutcomeAccepted},
	signaling.ReasonDeclined:    {signaling.OutcomeDeclined},
	signaling.ReasonCancelled:   {signaling.OutcomeCancelled},
	signaling.ReasonBusy:        {signaling.OutcomeBusy},
	signaling.ReasonNoAnswer:    {signaling.OutcomeMissed},
	signaling.ReasonDropped:     {signaling.OutcomeAccepted, signaling.OutcomeCancelled, signaling.OutcomeMissed},
	signaling.ReasonMediaFailed: {signaling.OutcomeAccepted, signaling.OutcomeFailed},
}

func sidesDiffer(b *Book) (out []string) {
	for _, c := range b.calls {
		reasons := c.reasons()
		if len(reasons) > 1 {
			out = append(out, fmt.Sprintf("%s ended for its clients with %s and %s", c.name(), reasons[0], reasons[1]))
		}
		posts := append(b.became(c.caller, c.id), b.became(c.callee, c.id)...)
		if c.id == "" || len(posts) == 0 {
			continue
		}
		out = append(out, postsDiffer(c, posts)...)
		for _, r := range reasons {
			if may := outcomes[r]; may != nil && !slices.Contains(may, posts[0].Outcome) {
				out = append(out, fmt.Sprintf("%s ended with %s, and was %s for the conversation", c.name(), r, posts[0].Outcome))
			}
		}
		if b.whole && posts[0].Outcome == signaling.OutcomeAccepted && !c.tried && len(c.winners) == 0 && !c.members[c.callee] {
			out = append(out, fmt.Sprintf("%s was accepted for the conversation, and nobody answered it", c.name()))
		}
	}
	return out
}

// postsDiffer says where the messages of one call do not say the same.
func postsDiffer(c *call, posts []Post) (out []string) {
	first := posts[0]
	for _, p := range posts[1:] {
		if p.Outcome != first.Outcome || p.Duration != first.Duration {
			return append(out, fmt.Sprintf("%s was %s for %d s to one side and %s for %d s to the other",
				c.name(), first.Outcome, first.Duration, p.Outcome, p.Duration))
		}
	}
	return out
}

// oneMessage counts what each party was told of a call. At the end of the run who
// can be reached has been.
func oneMessage(b *Book) (out []string) {
	for _, c := range b.calls {
		if c.id == "" {
			continue
		}
		for _, user := range c.parties() {
			switch n := len(b.became(user, c.id)); {
			case n > 1:
				out = append(out, fmt.Sprintf("%s read in %d messages what became of %s", user, n, c.name()))
			case n == 0 && b.whole && b.online[user] && b.endedInHistory(c):
				out = append(out, fmt.Sprintf("%s read in no message what became of %s", user, c.name()))
			}
		}
	}
	return out
}
