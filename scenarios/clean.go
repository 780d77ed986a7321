package scenarios

import (
	"fmt"
	"path"
	"strings"

	"github.com/callbench/callbench/reports/trace"
)

// Lifetime says what clean asks of a Redis key.
type Lifetime string

// The lifetimes of keys.
const (
	Gone  Lifetime = "gone"  // must not be there when no call is
	TTL   Lifetime = "ttl"   // may be there as long as it runs out by itself, and its session has not ended
	Stays Lifetime = "stays" // is kept
)

// KeyClass is a kind of key that the server writes.
type KeyClass struct {
	Pattern string // as path.Match reads it; user ids may hold anything but a slash
	Lives   Lifetime
	Help    string
}

// KeyClasses is the table of all keys that there may be: one of another class
// is not clean.
var KeyClasses = []KeyClass{
	{"rtc:session:*", Gone, "a member's side of a call"},
	{"rtc:room:*:members", Gone, "who is in a room"},
	{"rtc:room:*:state", Gone, "a room"},
	{"rtc:room:*:snapshot", Gone, "what another server needs to go on with a room"},
	{"rtc:node:*:rooms", Gone, "the rooms of a server"},
	{"rtc:user:*", Gone, "which room holds a user"},
	{"ws:session:*", TTL, "a session: gone when it has ended, at the latest with its time to live when its client was lost"},
	{"user:*:presence", Stays, "a user's presence, with its version"},
}

// ClassOf finds a key's class.
func ClassOf(key string) (KeyClass, bool) {
	for _, c := range KeyClasses {
		if ok, err := path.Match(c.Pattern, key); err == nil && ok {
			return c, true
		}
	}
	return KeyClass{}, false
}

// Left reports whether a key must not be there when no call is.
func Left(key string) bool {
	c, known := ClassOf(key)
	return !known || c.Lives == Gone
}

// roundClean wants nothing left, and no key of a session that has ended or that
// would stay for ever.
func roundClean(j *Judge, _ Clause, found []trace.Event) bool { return len(j.unclean(found)) == 0 }

// unclean lists what a look at the world should not have found.
func (j *Judge) unclean(found []trace.Event) []trace.Event {
	var out []trace.Event
	for _, e := range found {
		switch e.Get("what") {
		case "left":
			out = append(out, e)
		case "key":
			id, session := strings.CutPrefix(e.Get("key"), "ws:session:")
			if session && (j.over[id] || e.Number("ttl") <= 0) {
				out = append(out, e)
			}
		}
	}
	return out
}

// cleanDoc is the reference's section about clean.
func cleanDoc(b *strings.Builder) {
	b.WriteString(`
## What clean means

No object of the media server that was not there before, no room in the history that is active, no TURN allocation, and in
Redis nothing but what may be there. Each world gives clean-up a time: 15 s in both, in which a member that does not confirm the
end of its call is taken out. Keys are judged by their class, and one of no class is not clean:

| key | clean asks | what it is |
| --- | --- | --- |
`)
	say := map[Lifetime]string{Gone: "that it is gone", TTL: "that it has a time to live", Stays: "nothing: it stays"}
	for _, c := range KeyClasses {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", c.Pattern, say[c.Lives], c.Help)
	}
}
