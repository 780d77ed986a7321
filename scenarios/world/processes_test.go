package world

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/simclient"
)

// serveAlone is the whole life of a process that is a server with its media
// server and its Redis: it prints its URL, and ends when its input does.
func serveAlone() {
	s, err := scenarios.Parse("alone.call", "clients alice=electron bob=electron\nalice close\n")
	if err == nil {
		var l *Local
		if l, err = newLocal(context.Background(), s, "", nil, 1, trace.New(nil), Plant{}); err == nil {
			l.know("alice", s)
			l.know("bob", s)
			fmt.Println(l.url())
			_, err = io.Copy(io.Discard, os.Stdin)
			l.Close()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// startServer starts a server in a process of its own and gives its URL.
func startServer(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CALLBENCH_TEST_SERVE=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server's process: %v", err)
		}
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal("the server's process did not start: ", err)
	}
	return strings.TrimSpace(url)
}

// wire is a TCP proxy whose connections can swallow what is written to them,
// and break.
type wire struct {
	net.Listener
	to string
	// up is of what the client sends, down of what the server sends.
	up, down swallow

	mu    sync.Mutex
	conns []*net.TCPConn
}

// swallow says whether a direction loses what it gets, and how much it lost.
type swallow struct {
	on   atomic.Bool
	lost atomic.Int64
}

func newWire(t *testing.T, url string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l, to: strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/ws")}
	var pumps sync.WaitGroup
	pumps.Go(func() { w.serve(&pumps) })
	t.Cleanup(func() {
		l.Close()
		w.reset()
		pumps.Wait()
	})
	return w
}

func (w *wire) url() string { return "ws://" + w.Addr().String() + "/ws" }

func (w *wire) serve(pumps *sync.WaitGroup) {
	for {
		near, err := w.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.to)
		if err != nil {
			near.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, near.(*net.TCPConn), far.(*net.TCPConn))
		w.mu.Unlock()
		pumps.Go(func() { w.up.pump(far, near) })
		pumps.Go(func() { w.down.pump(near, far) })
	}
}

func (s *swallow) pump(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if s.on.Load() {
			s.lost.Add(int64(n))
		} else if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// reset breaks all connections with RST; the next ones are good.
func (w *wire) reset() {
	w.up.on.Store(false)
	w.down.on.Store(false)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.SetLinger(0) // it may be closed already
		c.Close()
	}
	w.conns = nil
}

// diary keeps the events of a client.
type diary struct {
	t      *testing.T
	mu     sync.Mutex
	events []trace.Event
	more   chan struct{} // closed and replaced with each event
}

// device makes and connects a client that keeps a diary.
func device(t *testing.T, user, url string) (*simclient.Client, *diary) {
	t.Helper()
	d := &diary{t: t, more: make(chan struct{})}
	log := trace.New(nil)
	log.Watch(d.note)
	var login access
	login.init()
	c, err := simclient.New(simclient.Config{User: user, Device: user, URL: url, Loopback: true, IPFilter: func(ip net.IP) bool { return ip.IsLoopback() },
		Token: func(context.Context) (string, error) { return login.token(scenarios.Client{User: user, Device: user}) },
		Log:   slog.New(trace.Handler(log, user))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c, d
}

func (d *diary) note(e trace.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
	close(d.more)
	d.more = make(chan struct{})
}

// count counts the events of a kind with an attribute.
func (d *diary) count(kind trace.Kind, key, value string) (n int, more chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		if e.Kind == kind && (key == "" || e.Get(key) == value) {
			n++
		}
	}
	return n, d.more
}

// wait returns when there are n such events.
func (d *diary) wait(n int, kind trace.Kind, key, value string) {
	d.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		have, more := d.count(kind, key, value)
		if have >= n {
			return
		}
		select {
		case <-more:
		case <-limit:
			d.t.Fatalf("%d of %d events %s %s=%s", have, n, kind, key, value)
		}
	}
}

// once fails unless there is exactly one such event.
func (d *diary) once(kind trace.Kind, key, value string) {
	d.t.Helper()
	if n, _ := d.count(kind, key, value); n != 1 {
		d.t.Errorf("%d events %s %s=%s, want one", n, kind, key, value)
	}
}

// A client's socket dies with frames in flight between two processes: the
// session resumes, and nothing is lost and nothing comes twice.
func TestLoopLostFramesBetweenProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	url := startServer(t)
	for _, way := range []struct {
		name     string
		up, down bool
	}{{"up", true, false}, {"down", false, true}, {"both", true, true}} {
		t.Run(way.name, func(t *testing.T) {
			w := newWire(t, url)
			alice, hers := device(t, "alice", url)
			bob, his := device(t, "bob", w.url())
			loseMessages(t, w, way.up, way.down, alice, bob, hers, his)
			loseEnd(t, w, way.up, way.down, alice, bob, hers, his)
			for _, d := range []*diary{hers, his} {
				if n, _ := d.count("protocol.violation", "", ""); n > 0 {
					t.Errorf("%d violations of the protocol", n)
				}
			}
		})
	}
}

// lose swallows what is sent, until some of it was, and breaks the socket.
func (w *wire) lose(t *testing.T, up, down bool, during func()) {
	t.Helper()
	w.up.lost.Store(0)
	w.down.lost.Store(0)
	w.up.on.Store(up)
	w.down.on.Store(down)
	during()
	limit := time.Now().Add(10 * time.Second)
	for up && w.up.lost.Load() == 0 || down && w.down.lost.Load() == 0 {
		if time.Now().After(limit) {
			t.Fatal("nothing was sent that could be lost")
		}
		time.Sleep(time.Millisecond)
	}
	w.reset()
}

// loseMessages loses a message each way.
func loseMessages(t *testing.T, w *wire, up, down bool, alice, bob *simclient.Client, hers, his *diary) {
	t.Helper()
	if err := alice.Message(t.Context(), "bob", "before"); err != nil {
		t.Fatal(err)
	}
	his.wait(1, "im.message", "text", "before")
	sent := make(chan error, 1)
	w.lose(t, up, down, func() {
		if err := alice.Message(t.Context(), "bob", "down"); err != nil {
			t.Fatal(err)
		}
		go func() { sent <- bob.Message(t.Context(), "alice", "up") }()
	})
	if err := <-sent; err != nil {
		t.Error(err)
	}
	his.wait(1, "session.resumed", "", "")
	his.wait(1, "im.message", "text", "down")
	hers.wait(1, "im.message", "text", "up")
	if err := alice.Message(t.Context(), "bob", "after"); err != nil { // whatever comes twice comes before it
		t.Fatal(err)
	}
	his.wait(1, "im.message", "text", "after")
	for _, text := range []string{"before", "down", "after"} {
		his.once("im.message", "text", text)
	}
	hers.once("im.message", "text", "up")
	his.once("session.resumed", "", "")
}

// loseEnd loses the end of a call on its way down, or its confirmation on its
// way up.
func loseEnd(t *testing.T, w *wire, up, down bool, alice, bob *simclient.Client, hers, his *diary) {
	t.Helper()
	if err := alice.Call(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	his.wait(1, "call.incoming", "", "")
	if err := bob.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	his.wait(1, "call.connected", "", "")
	hers.wait(1, "call.connected", "", "")
	w.lose(t, up && !down, down, func() {
		if err := alice.Hangup(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	his.wait(2, "session.resumed", "", "")
	his.wait(1, "call.ended", "reason", "hangup")
	hers.once("call.ended", "reason", "hangup")
	his.once("call.ended", "", "")
}
