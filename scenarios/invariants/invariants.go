// Package invariants holds what must be true of every call, whoever made it and
// whatever came between: of what its clients were told, of what the history and
// the conversation keep of it, and of what is left when it is over. It judges
// what was observed and knows no server: the judge of scenarios and the model of
// the call's states write their observations into a Book, and are held to the
// same rules.
package invariants

import "fmt"

// Violation is a rule that was broken.
type Violation struct {
	Rule    string // the name of a Rule
	Message string // what was seen
}

// String is the violation in a line.
func (v Violation) String() string { return v.Rule + ": " + v.Message }

// Rule is something that must be true of all calls in a book.
type Rule struct {
	Name  string
	Says  string // what is expected
	check func(*Book) []string
}

// Rules are all rules, in the order in which they are checked.
func Rules() []Rule {
	return []Rule{
		{"heard-early", "a client hears of no new call before it has heard of the end of the one that it is in", heardEarly},
		{"two-winners", "one client answers a call, and its caller is told so once", twoWinners},
		{"ended-twice", "a client is told once that a call has ended", endedTwice},
		{"sides-differ", "both sides agree why a call ended, what became of it and how long it was", sidesDiffer},
		{"members-differ", "all members of a room know the same of each other", membersDiffer},
		{"one-stage", "one member at most publishes in a broadcast, at any time", func(b *Book) []string { return b.stages }},
		{"one-message", "the conversation keeps one message of a call for each of its parties", oneMessage},
		{"state-order", "a call goes through its states in their order", stateOrder},
		{"history-differs", "the history says what the clients saw", historyDiffers},
		{"rows-differ", "the history has one row of each call, which says what both sides were told, and recordings end as ready or failed", rowsDiffer},
		{"endless", "every call ends", endless},
		{"left-over", "nothing is left of calls that have ended", leftOver},
	}
}

// Check lists what was broken, in an order that does not change.
func Check(b *Book) []Violation {
	var out []Violation
	for _, r := range Rules() {
		for _, message := range r.check(b) {
			out = append(out, Violation{Rule: r.Name, Message: message})
		}
	}
	return out
}

func heardEarly(b *Book) []string { return b.early }

func twoWinners(b *Book) (out []string) {
	for _, c := range b.calls {
		if len(c.winners) > 1 {
			out = append(out, fmt.Sprintf("%s was answered by %s", c.name(), and(c.winners)))
		}
		for _, s := range c.sides {
			if s.accepted > 1 {
				out = append(out, fmt.Sprintf("%s was told %d times that %s was answered", s.client.Name, s.accepted, c.name()))
			}
		}
	}
	return out
}

func endedTwice(b *Book) (out []string) {
	for _, t := range b.ends {
		if t.times > 1 {
			out = append(out, fmt.Sprintf("%s was told %d times that call %s ended", t.client, t.times, t.call))
		}
	}
	return out
}

// endless looks at calls that the server began, when it has come to its own end.
func endless(b *Book) (out []string) {
	if !b.finished {
		return nil
	}
	for _, id := range b.begun {
		if at := b.states[id].at; at != "ended" {
			out = append(out, fmt.Sprintf("call %s is still %s", id, at))
		}
	}
	return out
}

// Settled reports whether the last look leaves nothing to wait for: it agrees
// with what clients saw.
func (b *Book) Settled() bool {
	end := *b
	end.whole = true
	return len(historyDiffers(&end))+len(rowsDiffer(&end))+len(leftOver(&end))+len(oneMessage(&end))+len(membersDiffer(&end)) == 0
}

// leftOver looks at the last look, if no call was under way then.
func leftOver(b *Book) (out []string) {
	if !b.whole || b.underWay() {
		return nil
	}
	for _, l := range b.left {
		out = append(out, l+" is left")
	}
	return out
}
