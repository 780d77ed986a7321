package world

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
)

// python is Debian's, whose packages bring aiortc and websockets.
const python = "/usr/bin/python3"

// foreignLimit is how long a party may take to do what a call asks of it.
const foreignLimit = 60 * time.Second

// TestServiceLevel0Client has whole calls with a client that shares nothing
// with this module: another language, another WebRTC, and written from
// docs/protocol.md alone.
func TestServiceLevel0Client(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	if out, err := exec.Command(python, "-c", "import aiortc, websockets").CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Skipf("%s cannot import aiortc and websockets: %v %s", python, err, lines[len(lines)-1])
	}
	if !hasAddress(t) {
		t.Skip("this machine has loopback addresses only, which aiortc does not use")
	}
	t.Run("both", func(t *testing.T) {
		w := newForeignWorld(t)
		bob := w.foreign("bob", "wait")
		bob.await("connected")
		alice := w.foreign("alice", "call", "bob", "--hangup-after", "1")
		alice.whole("connected", "accepted", "offer_sent", "answer_sdp", "media", "ended")
		bob.whole("connected", "incoming", "accepted", "offer_sent", "answer_sdp", "media", "ended")
		w.endedBy(alice, bob)
		w.clean()
	})
	t.Run("calls", func(t *testing.T) {
		w := newForeignWorld(t)
		bob := w.own("bob")
		alice := w.foreign("alice", "call", "bob", "--hangup-after", "2")
		w.await("bob", "call.incoming", "from", "alice")
		w.do("accept", bob.Accept)
		w.hears("bob")
		alice.whole("connected", "accepted", "offer_sent", "answer_sdp", "media", "ended")
		w.await("bob", "call.ended", "reason", "hangup")
		w.clean()
	})
	t.Run("answers", func(t *testing.T) {
		w := newForeignWorld(t)
		bob := w.foreign("bob", "wait")
		bob.await("connected")
		alice := w.own("alice")
		w.do("call", func(ctx context.Context) error { return alice.Call(ctx, "bob") })
		bob.await("media")
		w.hears("alice")
		w.do("hang up", alice.Hangup)
		bob.whole("connected", "incoming", "accepted", "offer_sent", "answer_sdp", "media", "ended")
		if end := bob.await("ended"); end.By != "alice" || !end.Confirmed {
			t.Errorf("bob was told of the end: %+v", end)
		}
		w.clean()
	})
}

// hasAddress reports whether the machine has an address that aioice, which is
// below aiortc, gathers a candidate of.
func hasAddress(t *testing.T) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil
	})
}

// foreignWorld is a local world with parties in it that it did not make.
type foreignWorld struct {
	*Local
	t      *testing.T
	events *seen[trace.Event]
}

func newForeignWorld(t *testing.T) *foreignWorld {
	log := trace.New(nil)
	w := &foreignWorld{t: t, events: newSeen[trace.Event](t)}
	log.Watch(w.events.add)
	local, err := newLocal(t.Context(), &scenarios.Scenario{}, "", nil, 1, log, Plant{})
	if err != nil {
		t.Fatal(err)
	}
	w.Local = local
	t.Cleanup(func() {
		if err := local.Close(); err != nil {
			t.Errorf("close the world: %v", err)
		}
	})
	return w
}

// own connects one of the module's own clients, of level 1.
func (w *foreignWorld) own(user string) scenarios.Caller {
	c, err := w.Client(scenarios.Client{Name: user, User: user, Device: user, Profile: "electron"}, w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			w.t.Errorf("close %s: %v", user, err)
		}
	})
	w.do("connect", c.Connect)
	return c
}

func (w *foreignWorld) do(what string, act func(context.Context) error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), foreignLimit)
	defer cancel()
	if err := act(ctx); err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
}

// await waits for an event of an actor that has the attribute.
func (w *foreignWorld) await(actor string, kind trace.Kind, key, value string) {
	w.t.Helper()
	w.events.await(fmt.Sprintf("%s of %s with %s=%s", kind, actor, key, value), func(e trace.Event) bool {
		return e.Actor == actor && e.Kind == kind && e.Get(key) == value
	})
}

// hears waits for audio and video at one of the module's own clients. The
// other's carry no marks, so that is what the client says of them.
func (w *foreignWorld) hears(user string) {
	w.t.Helper()
	w.await(user, "media.unmarked", "media", "audio")
	w.await(user, "media.unmarked", "media", "video")
}

// endedBy checks who ended the call, on both sides.
func (w *foreignWorld) endedBy(leaver, other *foreigner) {
	w.t.Helper()
	if end := leaver.await("ended"); end.By != "me" {
		w.t.Errorf("%s left, and says %+v", leaver.user, end)
	}
	if end := other.await("ended"); end.By != leaver.user || !end.Confirmed {
		w.t.Errorf("%s was told of the end: %+v", other.user, end)
	}
}

// clean waits until the server holds nothing of the call any more, and checks
// what the history says of it.
func (w *foreignWorld) clean() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), w.Settle())
	defer cancel()
	for {
		found, err := w.Probe(ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		left := slices.DeleteFunc(slices.Clone(found), func(f scenarios.Finding) bool { return f.What != "left" })
		rooms := slices.DeleteFunc(slices.Clone(found), func(f scenarios.Finding) bool { return f.What != "room" })
		if len(left) == 0 && len(rooms) > 0 {
			w.history(rooms)
			return
		}
		if err := sleepFor(ctx, 50*time.Millisecond); err != nil {
			w.t.Fatalf("left behind: %+v; all: %+v", left, found)
		}
	}
}

func (w *foreignWorld) history(rooms []scenarios.Finding) {
	w.t.Helper()
	if len(rooms) != 1 {
		w.t.Fatalf("%d rooms in the history: %+v", len(rooms), rooms)
	}
	room := trace.Event{Attrs: rooms[0].Attrs}
	for key, want := range map[string]string{"type": "1v1", "status": "ended", "members": "2", "reason": "hangup"} {
		if got := room.Get(key); got != want {
			w.t.Errorf("the history says %s=%s, want %s", key, got, want)
		}
	}
}

func sleepFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// foreigner is a party of a call that is a process of its own.
type foreigner struct {
	t      *testing.T
	user   string
	events *seen[said]
	exited chan error
	errors *strings.Builder // what it wrote to stderr; to be read after it has exited
}

// said is a line of testdata/level0/client.py.
type said struct {
	Event     string  `json:"event"`
	At        float64 `json:"t"`
	Kind      string  `json:"kind"`
	By        string  `json:"by"`
	Confirmed bool    `json:"confirmed"`
	Frames    int     `json:"frames"`  // received and decoded
	Packets   int     `json:"packets"` // received
	Sent      int     `json:"sent"`    // packets
	State     string  `json:"state"`
	Code      string  `json:"code"`
	Why       string  `json:"why"`
}

// foreign starts the client with these arguments behind its address and token.
func (w *foreignWorld) foreign(user string, args ...string) *foreigner {
	w.t.Helper()
	w.know(user, w.log)
	token, err := w.token(scenarios.Client{Name: user, User: user, Device: user})
	if err != nil {
		w.t.Fatal(err)
	}
	args = append([]string{"-B", "testdata/level0/client.py", "--url", w.url(), "--token", token, "--media-seconds", "30"}, args...)
	cmd := exec.CommandContext(w.t.Context(), python, args...)
	f := &foreigner{t: w.t, user: user, events: newSeen[said](w.t), exited: make(chan error, 1), errors: &strings.Builder{}}
	cmd.Stderr = f.errors
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		f.exited <- errors.Join(f.listen(out), cmd.Wait())
	}()
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has exited, unless the test failed
		<-gone
	})
	return f
}

func (f *foreigner) listen(out io.Reader) error {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var s said
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return fmt.Errorf("%q: %w", lines.Text(), err)
		}
		f.events.add(s)
	}
	return lines.Err()
}

func (f *foreigner) await(event string) said {
	f.t.Helper()
	return f.events.await(event+" of "+f.user, func(s said) bool { return s.Event == event })
}

// whole waits for the process to end and checks that it had a whole call: these
// events in this order, ICE connected, and media both ways.
func (f *foreigner) whole(order ...string) {
	f.t.Helper()
	select {
	case err := <-f.exited:
		if err != nil {
			f.t.Fatalf("%s: %v\n%+v\n%s", f.user, err, f.events.all(), f.errors)
		}
	case <-time.After(foreignLimit):
		f.t.Fatalf("%s does not end; it said %+v", f.user, f.events.all())
	}
	all := f.events.all()
	rest := order
	for _, s := range all {
		if len(rest) > 0 && s.Event == rest[0] {
			rest = rest[1:]
		}
	}
	if len(rest) > 0 {
		f.t.Errorf("%s: %v did not follow in order: %+v", f.user, rest, all)
	}
	if !slices.ContainsFunc(all, func(s said) bool { return s.Event == "ice" && s.State == "completed" }) {
		f.t.Errorf("%s: ICE never completed: %+v", f.user, all)
	}
	for _, s := range all {
		if s.Event == "error" {
			f.t.Errorf("%s was refused something: %+v", f.user, s)
		}
	}
	for _, kind := range []string{"audio", "video"} {
		if !slices.ContainsFunc(all, func(s said) bool {
			return s.Event == "received" && s.Kind == kind && s.Frames > 0 && s.Packets > 0 && s.Sent > 0
		}) {
			f.t.Errorf("%s: no %s both ways: %+v", f.user, kind, all)
		}
	}
}

// seen keeps what happened and tells of more.
type seen[E any] struct {
	t    *testing.T
	mu   sync.Mutex
	list []E
	more chan struct{} // closed, and made anew, with every addition
}

func newSeen[E any](t *testing.T) *seen[E] { return &seen[E]{t: t, more: make(chan struct{})} }

func (s *seen[E]) add(e E) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, e)
	close(s.more)
	s.more = make(chan struct{})
}

func (s *seen[E]) all() []E {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// await waits for the first of what happened that is like this, also for one
// that has happened already.
func (s *seen[E]) await(what string, like func(E) bool) E {
	s.t.Helper()
	limit := time.NewTimer(foreignLimit)
	defer limit.Stop()
	for {
		s.mu.Lock()
		i, more := slices.IndexFunc(s.list, like), s.more
		var found E
		if i >= 0 {
			found = s.list[i]
		}
		s.mu.Unlock()
		if i >= 0 {
			return found
		}
		select {
		case <-more:
		case <-limit.C:
			s.t.Fatalf("no %s; seen: %+v", what, s.all())
		}
	}
}
