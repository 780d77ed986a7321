package reports

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/callbench/callbench/reports/trace"
)

// story is what the page tells of a scenario beyond its result. It is read from
// the scenario's trace, in one pass and in bounded memory however long that is.
type story struct {
	Script []string // the lines of the scenario's text
	Level  string   // of the protocol that the server spoke at most, "" if the trace does not say
	Parts  []pair   // what it ran on, with versions
	Where  []pair   // the machine
	Ends   []ending // the last events of each actor before the failure
	score  *score
}

// pair is a name and what it stands for.
type pair struct{ Name, Value string }

// ending is what one actor did last.
type ending struct {
	Actor string
	Last  []said
}

// said is an event for people; Times is how often the like of it came in a row.
type said struct {
	At    time.Duration
	Kind  string
	Text  string
	Times int
}

// lastEvents is how many events of each actor are told before a failure.
const lastEvents = 8

// mostActors bounds how many actors are told of.
const mostActors = 24

// readStory reads the trace of a scenario, whose name is relative to dir.
func readStory(dir string, s Scenario) (*story, error) {
	if s.Trace == "" {
		return nil, fmt.Errorf("no trace was kept")
	}
	path := s.Trace
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st := &story{score: newScore(s)}
	limit, failed := s.failedAt()
	over := false // the failure has been found
	err = trace.Read(f, func(e trace.Event) {
		if e.Kind == trace.KindRunBegin {
			st.head(e)
		}
		over = over || failed && e.T > limit
		if !over {
			st.remember(e)
		}
		over = over || failed && e.T == limit && (e.Kind == trace.KindDeadline || e.Kind == trace.KindStepEnd)
		st.score.observe(e)
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.Trace, err)
	}
	st.score.fail(math.MaxInt64)
	slices.SortStableFunc(st.Ends, func(a, b ending) int { return cmp.Compare(st.score.rank(a.Actor), st.score.rank(b.Actor)) })
	return st, nil
}

// failedAt is when the first failure was found.
func (s Scenario) failedAt() (time.Duration, bool) {
	if len(s.Failures) == 0 || s.Failures[0].At == 0 {
		return 0, false
	}
	return s.Failures[0].At, true
}

func (st *story) head(e trace.Event) {
	st.Script = strings.Split(strings.TrimRight(e.Get("text"), "\n"), "\n")
	st.Level = e.Get("level")
	for _, a := range e.Attrs {
		if name, ok := strings.CutPrefix(a.Key, "part."); ok {
			st.Parts = append(st.Parts, pair{name, a.Text()})
		}
		if name, ok := strings.CutPrefix(a.Key, "env."); ok {
			st.Where = append(st.Where, pair{name, a.Text()})
		}
	}
}

// part is the version of a part, "" if the trace names none.
func (st *story) part(name string) string {
	for _, p := range st.Parts {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// remember keeps an event among the last of its actor.
func (st *story) remember(e trace.Event) {
	if e.Actor == "script" {
		return // its steps are told line by line
	}
	i := slices.IndexFunc(st.Ends, func(x ending) bool { return x.Actor == e.Actor })
	if i < 0 {
		if len(st.Ends) == mostActors {
			return
		}
		i = len(st.Ends)
		st.Ends = append(st.Ends, ending{Actor: e.Actor})
	}
	last := &st.Ends[i].Last
	now := said{At: e.T, Kind: string(e.Kind), Text: own(e), Times: 1}
	if n := len(*last); n > 0 && repetitive[e.Kind] && (*last)[n-1].Kind == now.Kind {
		now.Times += (*last)[n-1].Times
		(*last)[n-1] = now
		return
	}
	if len(*last) == lastEvents {
		*last = slices.Delete(*last, 0, 1)
	}
	*last = append(*last, now)
}

// repetitive are the kinds that come in rows, of which the last is enough.
var repetitive = map[trace.Kind]bool{"media.window": true, "candidate.sent": true, "candidate.received": true, "kms.event": true}

// attributes renders what an event says, long identifiers shortened.
func attributes(e trace.Event) string {
	var b strings.Builder
	for i, a := range e.Attrs {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(a.Key + "=" + shorten(a.Text(), 48))
	}
	return b.String()
}

// shorten leaves the middle out of what is longer than most characters.
func shorten(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most/3]) + "…" + string(r[len(r)-(most-most/3-1):])
}

// cut leaves out the end of what is longer than most characters.
func cut(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return strings.TrimRight(string(r[:max(most-1, 0)]), " ") + "…"
}
