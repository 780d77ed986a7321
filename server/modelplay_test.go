package server_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/scenarios/invariants"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// model plays a plan against a real server in a bubble and writes down what every
// session saw.
type model struct {
	w          *world
	seats      []*seat
	book       invariants.Book
	moves      int
	rung       *seat         // that was invited last
	mood       mood          // of the State
	life       *life         // of the server
	cfg        server.Config // without what is tied to a life
	upsetState bool          // the State was upset, some time
	killed     bool          // a server was, and another is in its place
}

// seat is a device with the session that it has now.
type seat struct {
	user, device string
	sessions     int
	who          invariants.Client
	client       *client // nil while its connection is down
	conns        []*conn // of the session
	token        string
	seq          uint64
	sent         int
	last         *ask
	asks         map[string]*ask
	room         string           // of several members, that the session is in
	early        []func()         // what it was told of one that it does not know yet that it is in
	refs         []invariants.Ref // calls that the session has heard of
	invited      map[invariants.Ref]bool
	over         map[invariants.Ref]bool
	won          map[invariants.Ref]bool
}

// conn is a connection of a session's and how many of its frames were read.
type conn struct {
	*client
	seen int
}

// ask is a request that was not answered yet.
type ask struct {
	id     string
	action signaling.Action
	data   signaling.RTC
	ref    invariants.Ref
	left   *ask // by which the session left the call before it was told its name
	leaves bool // it takes the session out of the call, unless it is refused
}

// witness takes the complaints of a world, which must not fail the test at once:
// the plan is to be made shorter first.
type witness struct {
	testing.TB
	mu       sync.Mutex
	problems []string
}

// broke ends a play in which the world itself complained.
type broke struct{}

func (w *witness) Errorf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

func (w *witness) Fatalf(format string, args ...any) {
	w.Errorf(format, args...)
	panic(broke{})
}

func (w *witness) Fatal(args ...any) { w.Fatalf("%s", fmt.Sprint(args...)) }

// playPlan plays a plan and says what was broken, and which states the calls
// went through.
func playPlan(t *testing.T, p plan) (broken []string, transitions []string) {
	defer func() {
		if r := recover(); r != nil { // of the bubble: the server itself panics in a goroutine of its own
			broken = append(broken, fmt.Sprintf("goroutines: %v", r))
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		complaints := &witness{TB: t}
		m := &model{}
		m.w = newWorld(complaints, m.tune)
		func() {
			defer func() {
				if r := recover(); r != nil && r != (broke{}) {
					panic(r)
				}
			}()
			broken = m.play(p)
		}()
		broken = append(complaints.problems, broken...)
		m.w.close()
		broken = append(broken, m.closed(len(broken) > 0)...)
		transitions = m.transitions()
	})
	return broken, transitions
}

// tune makes everything take some time, and nothing as long as anything else:
// so moves fall between, and fall there again when the plan is played again.
func (m *model) tune(cfg *server.Config) {
	media := cfg.Media.(*fakeMedia)
	media.set(func(m *fakeMedia) { m.usual() })
	records(cfg)
	m.cfg = *cfg
	*cfg = m.tie(m.cfg)
}

// usual is how long the operations take when all is well.
func (m *fakeMedia) usual() {
	clear(m.fail)
	clear(m.hang)
	m.noDTLS = 0
	for i, op := range operations {
		m.delay[op] = time.Duration(6700+2410*i) * time.Microsecond
	}
}

func (m *model) play(p plan) []string {
	for _, s := range seats {
		at := &seat{user: s.user, device: s.device}
		m.seats = append(m.seats, at)
		m.begin(at)
	}
	for _, mv := range p.Moves {
		time.Sleep(mv.Wait + time.Millisecond + time.Duration(m.moves)*7*time.Microsecond) // no two moves are a round time apart
		m.moves++
		m.settle()
		m.do(mv)
		m.settle()
	}
	if p.Ends == shutdown {
		if m.mood.get() != "" { // nobody mends a State behind a server that is gone
			m.mood.set("")
			time.Sleep(10 * time.Second)
			m.settle()
		}
		for _, s := range m.seats {
			m.book.Online(s.user, false)
		}
		return nil
	}
	if p.Ends == killed {
		m.kill()
	}
	m.calm()
	return m.judge(m.left(isRoomKey))
}

// calm heals everything, has everybody come back and leave, and lets all
// time-outs pass.
func (m *model) calm() {
	m.w.media.set(func(f *fakeMedia) { f.usual() })
	m.mood.set("")
	for range 2 {
		time.Sleep(65 * time.Second)
		for _, s := range m.seats {
			m.settle()
			m.comeBack(s)
		}
		time.Sleep(time.Second)
		m.settle()
		if !m.killed {
			m.book.RollCall()
		}
		for _, s := range m.seats {
			m.ask(s, signaling.ActionLeave, invariants.Ref{}, signaling.RTC{})
		}
	}
	time.Sleep(3 * time.Minute)
	m.settle()
	for _, s := range m.seats {
		for _, a := range s.open() {
			m.w.t.Errorf("%s got no answer to its %s", s.who.Name, a.action)
		}
	}
}

// do makes a move. One that cannot be made is none.
func (m *model) do(mv move) {
	s := m.seats[mv.Seat]
	if mv.forCallee() && m.rung != nil {
		s = m.rung
	}
	switch mv.Do {
	case "come back":
		m.comeBack(s)
	case "begin anew":
		m.begin(s)
	case "upset media":
		m.upset(mv)
	case "heal media":
		m.w.media.set(func(f *fakeMedia) { f.usual() })
	case "lose media":
		m.loseMedia(mv.Arg)
	case "upset the state":
		m.mood.set(mv.mood())
		m.upsetState = true
	case "heal the state":
		m.mood.set("")
	default:
		if s.client != nil {
			m.say(s, mv)
		}
	}
}

// say is what a client does that has a connection.
func (m *model) say(s *seat, mv move) {
	ref := s.ref(mv.Ref)
	data := signaling.RTC{CallID: ref.Call, RoomID: ref.Room}
	switch mv.Do {
	case "enter the mix":
		m.ask(s, signaling.ActionJoin, invariants.Ref{Room: "standup"}, signaling.RTC{RoomID: "standup", RoomType: "mcu", Role: mv.role()})
	case "enter the broadcast":
		m.ask(s, signaling.ActionJoin, invariants.Ref{Room: "stage"}, signaling.RTC{RoomID: "stage", RoomType: "broadcast", Role: mv.role()})
	case "change the role":
		m.ask(s, signaling.ActionRole, ref, signaling.RTC{RoomID: s.room, UserID: mv.member(), Role: mv.role()})
	case "kick":
		m.ask(s, signaling.ActionKick, ref, signaling.RTC{RoomID: s.room, UserID: mv.member()})
	case "record":
		m.ask(s, signaling.ActionRecord, ref, signaling.RTC{RoomID: cmp.Or(s.room, ref.Room), Recording: mv.recording()})
	case "go out":
		m.ask(s, signaling.ActionLeave, invariants.Ref{Room: s.room}, signaling.RTC{RoomID: s.room})
	case "call":
		m.ask(s, signaling.ActionCall, ref, signaling.RTC{TargetUser: mv.callee()})
	case "offer":
		data.SDP = sdpOffer
		m.ask(s, signaling.ActionOffer, ref, data)
	case "candidate":
		data.Candidate = hostCandidate
		m.ask(s, signaling.ActionCandidate, ref, data)
	case "again":
		if s.last != nil {
			s.client.sendID(s.last.id, signaling.TypeRTC, s.last.action, s.last.data)
		}
	case "in one breath":
		m.ask(s, signaling.ActionLeave, ref, data)
		m.ask(s, signaling.ActionCall, ref, signaling.RTC{TargetUser: mv.callee()})
	case "drop":
		s.client.drop()
		s.client = nil
	case "say goodbye":
		_ = s.client.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
		<-s.client.ended
		s.client = nil
	default:
		m.ask(s, signaling.Action(mv.Do), ref, data)
	}
}

func (m *model) upset(mv move) {
	m.w.media.set(func(f *fakeMedia) {
		f.usual()
		switch op := mv.operation(); mv.upset() {
		case "is slow":
			f.delay[op] += 2 * time.Second
		case "fails":
			f.fail[op] = errors.New("broken")
		case "refuses":
			f.fail[op] = server.ErrSDPRefused
		case "hangs":
			f.hang[op] = true
		}
	})
}

// loseMedia has the media server lose an endpoint, if there is any.
func (m *model) loseMedia(n int) {
	var live []*fakeEndpoint
	for _, id := range m.w.media.left() {
		if e := m.w.media.endpoint(id); e != nil {
			live = append(live, e)
		}
	}
	if len(live) > 0 {
		live[n%len(live)].tell(server.MediaEvent{Kind: server.MediaLost, Detail: "gone"})
	}
}

// begin is a new session of the device, in the place of the one that it had.
func (m *model) begin(s *seat) {
	m.welcome(s, m.w.dial(s.user, nil), signaling.Hello{Token: token(m.w.t, s.user), Device: s.device})
}

// comeBack resumes the session, or begins a new one if it is gone.
func (m *model) comeBack(s *seat) {
	if s.client == nil {
		m.welcome(s, m.w.dial(s.user, nil), signaling.Hello{Token: token(m.w.t, s.user), Device: s.device, Resume: s.token, LastSeq: s.seq})
	}
}

// welcome says hello and takes note of the session that begins or goes on.
func (m *model) welcome(s *seat, c *client, h signaling.Hello) {
	if s.client != nil {
		m.settle()
	}
	c.lastSeq = h.LastSeq
	welcome := c.helloAfter(h)
	if !welcome.Resumed {
		m.gone(s)
		s.sessions++
		*s = seat{user: s.user, device: s.device, sessions: s.sessions, asks: map[string]*ask{},
			invited: map[invariants.Ref]bool{}, over: map[invariants.Ref]bool{}, won: map[invariants.Ref]bool{},
			who: invariants.Client{Name: fmt.Sprintf("%s.%s/%d", s.user, s.device, s.sessions), User: s.user}}
	}
	s.client, s.token = c, welcome.ResumeToken
	s.conns = append(s.conns, &conn{client: c})
	m.book.Online(s.user, true)
	for _, a := range s.open() { // what was not answered is asked again
		c.sendID(a.id, signaling.TypeRTC, a.action, a.data)
	}
}

// gone notes that nothing more is told to a session.
func (m *model) gone(s *seat) {
	m.book.Gone(s.who)
	m.outOfRoom(s, s.room, invariants.End{Guess: true})
	for _, a := range s.open() {
		if a.action == signaling.ActionCall {
			m.book.Unanswered(s.user)
		}
	}
}

// open are the requests that were not answered, in their order.
func (s *seat) open() []*ask {
	return slices.SortedFunc(maps.Values(s.asks), func(a, b *ask) int { return cmp.Or(len(a.id)-len(b.id), strings.Compare(a.id, b.id)) })
}

// ref is the call that a frame names.
func (s *seat) ref(w which) invariants.Ref {
	if w == latest && s.room != "" {
		return invariants.Ref{Room: s.room}
	}
	n := len(s.refs) - 1
	if w == older {
		n--
	}
	if w == unnamed || n < 0 {
		return invariants.Ref{}
	}
	return s.refs[n]
}

// leaves are the words by which a session leaves a call.
var leaves = []signaling.Action{signaling.ActionLeave, signaling.ActionCancel, signaling.ActionReject, signaling.ActionBusy}

// ask sends a request.
func (m *model) ask(s *seat, a signaling.Action, ref invariants.Ref, data signaling.RTC) {
	s.sent++
	s.last = &ask{id: fmt.Sprint("r", s.sent), action: a, data: data, ref: ref}
	s.asks[s.last.id] = s.last
	switch {
	case a == signaling.ActionJoin && data.RoomType != "":
		m.book.Knocked(data.RoomID, s.user)
	case a == signaling.ActionAnswer, a == signaling.ActionJoin:
		if ref == (invariants.Ref{}) {
			s.last.ref = s.ref(latest) // what the server must take it for
		}
		m.book.Tried(s.who, s.last.ref)
	case slices.Contains(leaves, a):
		if in := (invariants.Ref{Room: s.room}); ref == (invariants.Ref{}) && s.room != "" && m.book.Leaves(s.who, in) {
			s.last.ref, s.last.leaves = in, true // the first word without ids is about the room
			break
		}
		s.last.leaves = m.book.Leaves(s.who, ref)
		for _, other := range s.asks {
			if other.action == signaling.ActionCall && other.left == nil && ref == (invariants.Ref{}) {
				other.left = s.last
			}
		}
	}
	s.client.sendID(s.last.id, signaling.TypeRTC, a, data)
}

// settle lets everything come to rest and reads what the sessions were sent.
func (m *model) settle() {
	synctest.Wait()
	for _, s := range m.seats {
		for _, c := range s.conns {
			c.mu.Lock()
			frames := slices.Clone(c.frames[c.seen:])
			c.seen += len(frames)
			c.mu.Unlock()
			for _, f := range frames {
				m.read(s, f)
			}
		}
		m.lost(s)
	}
}

// lost notes that the server has closed the connection.
func (m *model) lost(s *seat) {
	if s.client == nil {
		return
	}
	select {
	case <-s.client.ended:
		s.client = nil
	default:
	}
}
