package trace

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFileKeepsEvents(t *testing.T) {
	want := []Event{
		{T: 0, Actor: "script", Kind: KindRunBegin, Attrs: []Attr{Int("version", 1), String("text", "line 1\n\"line 2\"\té")}},
		{T: 1500 * time.Microsecond, Actor: "alice", Kind: "media.flow", Attrs: []Attr{Duration("gap_ms", 12345*time.Microsecond), Bool("first", true), Float("loss", 0.25), Int("n", -3)}},
		{T: time.Hour, Actor: "kms", Kind: "kms.event"},
	}
	var file bytes.Buffer
	log := New(&file)
	for _, e := range want {
		log.Replay(e)
	}
	var got []Event
	if err := Read(&file, func(e Event) { got = append(got, e) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(texts(want), texts(got)); diff != "" {
		t.Error(diff)
	}
	if g := got[1].Number("gap_ms"); g != 12.345 {
		t.Errorf("gap_ms is %v", g)
	}
}

// texts renders events as expectations see them: a duration and its file form
// read the same.
func texts(events []Event) []string {
	var out []string
	for _, e := range events {
		s := e.T.String() + " " + e.Actor + " " + string(e.Kind)
		for _, a := range e.Attrs {
			s += " " + a.Key + "=" + a.Text()
		}
		out = append(out, s)
	}
	return out
}

func TestReadForgivesOnlyALastLineCutOff(t *testing.T) {
	good := string(Event{Actor: "a", Kind: "k"}.Append(nil))
	n := 0
	if err := Read(strings.NewReader(good+good[:len(good)-4]), func(Event) { n++ }); err != nil || n != 1 {
		t.Errorf("cut off last line: %d events, error %v", n, err)
	}
	for name, bad := range map[string]string{
		"not JSON": "nonsense\n", "no kind": "{\"t\":1}\n", "nested": `{"t":1,"kind":"k","x":{}}` + "\n", "time": `{"t":"x","kind":"k"}` + "\n",
	} {
		err := Read(strings.NewReader(good+bad+good), func(Event) {})
		if err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: error %v does not name line 2", name, err)
		}
	}
}

func TestHandlerTurnsLogRecordsIntoEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got Event
		log := New(nil)
		log.Watch(func(e Event) { got = e })
		time.Sleep(90 * time.Second)
		slog.New(Handler(log, "server")).With("call", "c1").WithGroup("leg").Info("leg.connected", "user", "alice", "took", 20*time.Millisecond, "n", 2)
		want := "1m30s server leg.connected call=c1 leg.user=alice leg.took=20 leg.n=2"
		if texts([]Event{got})[0] != want {
			t.Errorf("got %s\nwant %s", texts([]Event{got})[0], want)
		}
		slog.New(Handler(log, "server")).Info("source.started", "kind", "audio", "t", 1)
		if got.Kind != "source.started" || got.Get("kind_") != "audio" || got.Get("t_") != "1" {
			t.Errorf("an attribute took the place of the event's own: %+v", got)
		}
	})
}

func TestWatchersSeeTheOrderOfTheFile(t *testing.T) {
	var file bytes.Buffer
	var seen bytes.Buffer
	log := New(&file)
	log.Watch(func(e Event) { seen.Write(e.Append(nil)) })
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 100 {
				log.Add("a", "k", Int("i", i))
			}
		}()
	}
	wg.Wait()
	if !bytes.Equal(file.Bytes(), seen.Bytes()) {
		t.Error("file and watcher differ")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, bytes.ErrTooLarge }

func TestErrKeepsTheFirstWriteError(t *testing.T) {
	log := New(failing{})
	log.Add("a", "k")
	if log.Err() == nil {
		t.Error("a full disk went unnoticed")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"t":1,"actor":"a","kind":"k","x":1.5,"y":"z","b":true}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := Parse(line)
		if err != nil {
			return
		}
		again, err := Parse(e.Append(nil))
		if err != nil || len(again.Attrs) != len(e.Attrs) || again.Kind != e.Kind {
			t.Fatalf("%q does not survive: %v", line, err)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	b.ReportAllocs()
	log := New(&discard{})
	for b.Loop() {
		log.Add("alice", "media.window", String("call", "c-1"), String("media", "video"), Int("units", 30), Int("lost", 0), Duration("delay_max_ms", 21*time.Millisecond))
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
