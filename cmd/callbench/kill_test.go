package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"
)

const (
	outage = 2 * time.Second  // how long what was killed stays away
	quiet  = 12 * time.Second // without a change: longer than a lost media server takes to be noticed
	settle = 2 * time.Minute  // for all calls to be kept or ended
)

// TestServiceKill kills, in turn and with SIGKILL, each part of a system in which
// many calls run, starts it again two seconds later, and prints what became of the calls.
// Every call must be kept or end with a reason at both sides; afterwards calls
// must be possible, and nothing may be left of those that there were.
func TestServiceKill(t *testing.T) {
	calls, err := strconv.Atoi(os.Getenv("CALLBENCH_KILL_CALLS"))
	if err != nil || calls < 1 {
		t.Skip("nothing is killed: set CALLBENCH_KILL_CALLS to the number of calls that shall run meanwhile, such as 50")
	}
	s := newKillSystem(t, calls)
	for _, victim := range s.victims {
		s.strike(victim)
	}
	s.print()
}

// killSystem is a server with all that it needs, in processes.
type killSystem struct {
	t              *testing.T
	redis, kurento *part
	db             *sql.DB
	victims        []*part
	couples        []*couple
	spare          *couple // that tries whether calls are possible
	found          []struck
	known          map[string]bool // what earlier strokes left
}

// struck is a row of the table.
type struck struct {
	victim       string
	kept         int
	ended        map[string]int // by reason
	recovery     time.Duration
	rows         int // lost
	leaked, keys int
}

func newKillSystem(t *testing.T, calls int) *killSystem {
	s := &killSystem{t: t, redis: newRedisPart(t), kurento: newKurentoPart(t), known: map[string]bool{}}
	const secret = "a secret of 32 bytes, for killing"
	mysql, dsn := newMariaDBPart(t)
	var err error
	if s.db, err = sql.Open("mysql", dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })
	addr := freeAddr(t)
	server := newCallbenchPart(t, "server", addr, "/healthz", "serve", "-listen", addr, "-users=", "-secret", secret,
		"-kms", "ws://"+s.kurento.addr+"/kurento", "-redis", s.redis.addr, "-mysql", dsn, "-data", t.TempDir())
	s.know(server, calls+1)
	s.victims = []*part{server, s.redis, mysql, s.kurento}
	s.couples = crowd(t, addr, secret, calls+1)
	s.spare, s.couples = s.couples[calls], s.couples[:calls]
	return s
}

// know puts the users into the database, where the server finds them when it
// starts.
func (s *killSystem) know(server *part, couples int) {
	for i := range couples {
		for _, side := range []string{"a", "b"} {
			if _, err := s.db.Exec("INSERT INTO users (userId, createdTime) VALUES (?, UTC_TIMESTAMP(3))", fmt.Sprint(side, i)); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	server.kill()
	server.start()
}

// strike kills a part and writes down what becomes of the calls.
func (s *killSystem) strike(victim *part) {
	s.talk()
	killed := time.Now()
	victim.kill()
	time.Sleep(outage)
	victim.start()
	row := struck{victim: victim.name, ended: map[string]int{}}
	callable := make(chan time.Duration, 1)
	go func() { callable <- s.callable(killed) }()
	row.recovery = max(s.settled(killed), <-callable)
	for _, k := range s.couples {
		if reason, over := k.over(); over {
			row.ended[reason]++
		} else {
			row.kept++
		}
	}
	s.hangUp()
	row.leaked, row.keys = s.left()
	row.rows = s.lost()
	s.found = append(s.found, row)
}

// talk has everybody who is in no call call again.
func (s *killSystem) talk() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), settle)
	defer cancel()
	const atATime = 8
	errs := make([]error, len(s.couples))
	var all sync.WaitGroup
	for w := range atATime {
		all.Go(func() {
			for i := w; i < len(s.couples); i += atATime {
				errs[i] = s.couples[i].talk(ctx)
			}
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			s.t.Fatalf("%v\n%s", err, s.couples[i].describe())
		}
	}
}

// settled returns how long after the stroke nothing changed any more. It fails the
// test if a call is then neither kept nor ended with a reason at both sides.
func (s *killSystem) settled(killed time.Time) time.Duration {
	restless, deadline := time.Now(), time.Now().Add(settle)
	for time.Since(restless) < quiet && time.Now().Before(deadline) {
		for _, k := range s.couples {
			if _, over := k.over(); !over && !k.talks() {
				restless = time.Now()
			}
		}
		<-time.After(100 * time.Millisecond)
	}
	last := killed
	for _, k := range s.couples {
		s.judge(k)
		for _, c := range []*caller{k.a, k.b} {
			if _, changed := c.ear.hears(); changed.After(last) {
				last = changed
			}
		}
	}
	return last.Sub(killed)
}

func (s *killSystem) judge(k *couple) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	reason, over := k.over()
	switch {
	case !over && !k.talks():
		s.t.Errorf("neither kept nor ended: %s", k.describe())
	case over && !oneReason(reason):
		s.t.Errorf("ended, and the two do not agree why: %q: %s", reason, k.describe())
	case !k.answered(ctx):
		s.t.Errorf("the server does not answer: %s", k.describe())
	}
	for _, c := range []*caller{k.a, k.b} {
		for _, odd := range c.ear.odd {
			s.t.Errorf("%s saw what the protocol does not allow: %s", c.user, odd)
		}
	}
}

func oneReason(both string) bool {
	a, b, two := strings.Cut(both, "/")
	return a != "" && two && a == b
}

// callable returns how long after the stroke the first new call came about.
func (s *killSystem) callable(killed time.Time) time.Duration {
	ctx, cancel := context.WithTimeout(s.t.Context(), settle)
	defer cancel()
	for {
		begin := time.Now()
		err := s.spare.talk(ctx)
		if err == nil {
			return begin.Sub(killed)
		}
		if ctx.Err() != nil {
			s.t.Errorf("no new call comes about: %v", err)
			return begin.Sub(killed)
		}
	}
}

// hangUp ends all calls that there are.
func (s *killSystem) hangUp() {
	ctx, cancel := context.WithTimeout(s.t.Context(), settle)
	defer cancel()
	for _, k := range append(slices.Clone(s.couples), s.spare) {
		if _, over := k.over(); over {
			continue
		}
		if err := k.a.Hangup(ctx); err != nil {
			s.t.Errorf("%v: %s", err, k.describe())
		}
		if err := wait(ctx, "the call is over", func() bool { _, over := k.over(); return over }); err != nil {
			s.t.Errorf("%v: %s", err, k.describe())
		}
	}
}

// left returns how much the media server and Redis hold of calls that are over,
// and were not left by an earlier stroke.
func (s *killSystem) left() (objects, keys int) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	client := redis.NewClient(&redis.Options{Addr: s.redis.addr})
	defer client.Close()
	known := func(name string) bool { return s.known[name] }
	var held, stored []string
	if err := wait(ctx, "nothing is left of calls that are over", func() bool {
		held = slices.DeleteFunc(mediaObjects(s.t, s.kurento), known)
		stored = slices.DeleteFunc(client.Keys(ctx, "rtc:*").Val(), known)
		return len(held)+len(stored) == 0
	}); err != nil {
		s.t.Errorf("%v: %d objects of the media server, such as %v, and %d keys, such as %v", err,
			len(held), held[:min(3, len(held))], len(stored), stored[:min(3, len(stored))])
	}
	for _, name := range append(held, stored...) {
		s.known[name] = true
	}
	return len(held), len(stored)
}

// lost returns how many rows MySQL lacks of the calls that have just ended.
func (s *killSystem) lost() int {
	reasons := map[string]string{}
	for _, k := range append(slices.Clone(s.couples), s.spare) {
		reasons[k.call] = k.a.ear.reason(k.call)
	}
	lost := lostRows(s.t, s.db, reasons)
	if len(lost) > 0 {
		s.t.Errorf("MySQL lacks %d of %d rows, such as %v", len(lost), len(reasons)*len(rows), lost[:min(5, len(lost))])
	}
	return len(lost)
}

func (s *killSystem) print() {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "killed\tcalls\tkept\tended, by reason\tseconds to recover\trows lost\tobjects leaked\tkeys leaked")
	for _, r := range s.found {
		fmt.Fprintf(w, "%s\t%d\t%d\t%v\t%s\t%d\t%d\t%d\n", r.victim, len(s.couples), r.kept, r.ended, seconds(r.recovery), r.rows, r.leaked, r.keys)
	}
	if err := w.Flush(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Log("\n" + b.String())
}
