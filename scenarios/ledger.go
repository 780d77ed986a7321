package scenarios

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
)

// The events in which a client reports media.
const (
	kindFlow   trace.Kind = "media.flow"   // media, state flowing or silent, from, gap_ms
	kindWindow trace.Kind = "media.window" // media, from, window_ms and the counts of the window
)

// windowLength is the time that a counting window covers; it ends at the event.
func windowLength(e trace.Event) time.Duration {
	return time.Duration(e.Number("window_ms") * float64(time.Millisecond))
}

// ledger adds up what each client received of each kind of media in each call.
type ledger map[ledgerKey]*reports.Media

type ledgerKey struct{ client, call, kind string }

func (l ledger) row(client, call, kind string) *reports.Media {
	k := ledgerKey{client, call, kind}
	m := l[k]
	if m == nil {
		m = &reports.Media{Client: client, Call: call, Kind: kind}
		l[k] = m
	}
	return m
}

func (l ledger) sum(client, call, kind string) reports.Media { return *l.row(client, call, kind) }

func (l ledger) observe(e trace.Event) {
	if e.Kind != kindFlow && e.Kind != kindWindow {
		return
	}
	m := l.row(e.Actor, e.Get("call"), e.Get("media"))
	if from := e.Get("from"); from != "" {
		m.From = from
	}
	m.MaxGap = max(m.MaxGap, time.Duration(e.Number("gap_ms")*float64(time.Millisecond)))
	if e.Kind == kindFlow {
		return
	}
	m.Units += int64(e.Number("units"))
	m.Lost += int64(e.Number("lost"))
	m.Duplicated += int64(e.Number("duplicated"))
	m.Reordered += int64(e.Number("reordered"))
	m.Wrong += int64(e.Number("wrong"))
	m.Unmarked += int64(e.Number("unmarked"))
	m.Freezes += int64(e.Number("freezes"))
	m.MaxDelay = max(m.MaxDelay, time.Duration(e.Number("delay_max_ms")*float64(time.Millisecond)))
}

func (l ledger) rows() []reports.Media {
	var out []reports.Media
	for _, m := range slices.Collect(maps.Values(l)) {
		if m.Units+m.Wrong+m.Unmarked > 0 {
			out = append(out, *m)
		}
	}
	slices.SortFunc(out, func(a, b reports.Media) int {
		return cmp.Or(cmp.Compare(a.Call, b.Call), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}
