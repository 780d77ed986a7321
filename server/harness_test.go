package server_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
)

var secret = []byte("a secret of at least 32 bytes ...")

// token is a JWT that proves a user for a day, which no call lasts.
func token(t testing.TB, user string) string {
	t.Helper()
	return tokenFor(t, user, 24*time.Hour)
}

// tokenFor is a JWT that proves a user for so long.
func tokenFor(t testing.TB, user string, d time.Duration) string {
	t.Helper()
	claims := jwt.RegisteredClaims{Subject: user, ExpiresAt: jwt.NewNumericDate(time.Now().Add(d))}
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// journal is what happened in all parts, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) list() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

// count is how many lines begin so.
func (j *journal) count(prefix string) (n int) {
	for _, l := range j.list() {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

// inOrder fails unless lines with these prefixes occur in this order.
func (j *journal) inOrder(t *testing.T, prefixes ...string) {
	t.Helper()
	lines := j.list()
	rest := lines
	for _, p := range prefixes {
		i := slices.IndexFunc(rest, func(l string) bool { return strings.HasPrefix(l, p) })
		if i < 0 {
			t.Fatalf("no %q in its place; what happened:\n%s", p, strings.Join(lines, "\n"))
		}
		rest = rest[i+1:]
	}
}

// world is a server with fakes around it, in a bubble.
type world struct {
	t       *testing.T
	srv     *server.Server
	media   *fakeMedia
	state   *store.Memory
	inbox   *store.MemoryInbox
	history *store.MemoryHistory
	journal *journal
	streams *netsim.Streams
	logs    *logBuffer
	clients []*client
	started time.Time
	stop    context.CancelFunc
	stopped chan struct{}
}

// bubble runs a test in a world. When it returns, the server is closed and
// nothing may be left of it.
func bubble(t *testing.T, tune func(*server.Config), test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tune)
		test(t, w)
		w.close()
		if keys := slices.DeleteFunc(w.state.Keys(), isPresence); len(keys) > 0 {
			t.Errorf("left in State: %q", keys)
		}
		if left := w.media.left(); len(left) > 0 {
			t.Errorf("left on the media server: %q", left)
		}
		for _, r := range w.history.Rooms() {
			if r.Status() != "ended" {
				t.Errorf("room %s is %s in History", r.RoomID, r.Status())
			}
			for _, m := range w.history.Members(r.RoomID) {
				if m.LeftAt.IsZero() {
					t.Errorf("member %s of room %s never left in History", m.UserID, m.RoomID)
				}
			}
		}
	})
}

// isPresence tells keys that stay.
func isPresence(key string) bool { return strings.HasPrefix(key, "user:") }

func newWorld(t *testing.T, tune func(*server.Config)) *world {
	j := &journal{}
	w := &world{t: t, journal: j, media: newFakeMedia(j), state: &store.Memory{}, inbox: &store.MemoryInbox{}, history: store.NewMemoryHistory(),
		logs: &logBuffer{}, stopped: make(chan struct{}), started: time.Now()}
	var mu sync.Mutex
	ids := make(map[string]int)
	cfg := server.Config{
		Auth: server.JWT(secret), Media: w.media, State: journaledState{w.state, j}, History: journaledHistory{w.history, j}, Inbox: w.inbox,
		Log: slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		NewID: func(kind, user string) string {
			mu.Lock()
			defer mu.Unlock()
			ids[kind+user]++
			return fmt.Sprintf("%s-%s-%d", kind, user, ids[kind+user])
		},
	}
	if tune != nil {
		tune(&cfg)
	}
	var err error
	if w.srv, err = server.New(cfg); err != nil {
		t.Fatal(err)
	}
	w.streams = netsim.NewStreams(0)
	w.streams.AddHost("server", netip.MustParseAddr("10.1.0.1"), nil)
	ln, err := w.streams.Listen("server:80")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	t.Cleanup(w.close)
	go func() {
		defer close(w.stopped)
		if err := w.srv.Run(ctx, ln); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	return w
}

func (w *world) close() {
	w.stop()
	<-w.stopped
	for _, c := range w.clients {
		c.raw.Close() // a client that is cut off knows nothing of the end
	}
}

// logBuffer is a bytes.Buffer for many goroutines.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// eventLines are the log's lines of this kind.
func (w *world) eventLines(kind string) (lines []string) {
	for l := range strings.Lines(w.logs.String()) {
		if strings.Contains(l, "msg="+kind+" ") {
			lines = append(lines, l)
		}
	}
	return lines
}

// journaledState and journaledHistory write what is stored into the journal.
type journaledState struct {
	server.State
	j *journal
}

func (s journaledState) OpenRoom(ctx context.Context, r server.RoomSnapshot, m server.MemberRecord, l server.LegRecord) error {
	s.j.add("state open room by %s", m.UserID)
	return s.State.OpenRoom(ctx, r, m, l)
}

func (s journaledState) JoinRoom(ctx context.Context, r server.RoomSnapshot, m server.MemberRecord, l server.LegRecord) error {
	s.j.add("state join %s", m.UserID)
	return s.State.JoinRoom(ctx, r, m, l)
}

func (s journaledState) LeaveRoom(ctx context.Context, m server.MemberRecord) error {
	s.j.add("state leave %s", m.UserID)
	return s.State.LeaveRoom(ctx, m)
}

func (s journaledState) CloseRoom(ctx context.Context, r server.RoomSnapshot) error {
	s.j.add("state close room")
	return s.State.CloseRoom(ctx, r)
}

type journaledHistory struct {
	server.History
	j *journal
}

func (h journaledHistory) RoomEnded(ctx context.Context, r server.RoomHistory) error {
	h.j.add("history room ended %s", r.Reason)
	return h.History.RoomEnded(ctx, r)
}

// contains reports whether one of the lines has all of these.
func contains(lines []string, parts ...string) bool {
	return slices.ContainsFunc(lines, func(l string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(l, p) })
	})
}
