package simclient

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/signaling"
)

// fake is a server that knows as much of the protocol as a client needs to be
// tested: sessions with replay, one call at a time, and a media server of Pion
// peers. A test bends it with onRequest.
type fake struct {
	t   *testing.T
	hub *hub // nil: offers are acknowledged and never answered

	mu       sync.Mutex
	sessions map[string]*fakeSession // by user
	call     *fakeCall
	in       *signaling.CallRef // what a resumed session is told that it is in, if there is no call
	calls    int
	// onRequest may swallow a request by returning true. It is called with the lock.
	onRequest func(s *fakeSession, f signaling.Frame) bool
	requests  []string // "user type/action", in order, repetitions too
	mute      bool     // nobody is welcomed, and no hello answered
	// level0 says for which users it is a server of level 0, as the design document
	// alone has it. Nil: for nobody.
	level0    func(user string) bool
	helloCode signaling.Code // with which a hello is refused then
	bearers   []string       // tokens of the headers, in order
	tokenTTL  int
	refuse    int                                                      // status with which every WebSocket is refused, if not 0
	ice       func(user string) ([]signaling.ICEServer, time.Duration) // nil: there are none
	pongs     int                                                      // of all connections
	conns     sync.WaitGroup
}

type fakeSession struct {
	srv      *fake
	user, id string
	resume   string
	ws       *websocket.Conn // nil: detached
	pushed   []signaling.Frame
	answers  map[string]signaling.Frame
	level0   bool
	receipts []uint64
	tokens   []string // of token frames
	deaf     bool     // answers and pushes get lost
	onAttach func()
}

type fakeCall struct {
	id, room       string
	caller, callee *fakeSession
	answered       bool
}

func (k *fakeCall) ref() signaling.RTC { return signaling.RTC{CallID: k.id, RoomID: k.room} }

// is tells whether a request is about the call: by id, by room, or by neither.
func (k *fakeCall) is(in signaling.RTC) bool {
	switch {
	case k == nil:
		return false
	case in.CallID != "":
		return in.CallID == k.id
	default:
		return in.RoomID == "" || in.RoomID == k.room
	}
}

func newFake(t *testing.T) *fake {
	return &fake{t: t, sessions: map[string]*fakeSession{}}
}

// ServeHTTP is the life of a connection.
func (s *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	status := s.refuse
	s.mu.Unlock()
	if status != 0 {
		http.Error(w, "no", status)
		return
	}
	ws, err := new(websocket.Upgrader).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	s.conns.Add(1)
	defer s.conns.Done()
	defer ws.Close()
	ws.SetPongHandler(func(string) error {
		s.locked(func() { s.pongs++ })
		return nil
	})
	sess := s.greet(ws, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	for sess != nil {
		f, err := read(ws)
		if err != nil {
			break
		}
		s.mu.Lock()
		sess.handle(f)
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sess != nil && sess.ws == ws {
		sess.ws = nil
	}
}

func read(ws *websocket.Conn) (signaling.Frame, error) {
	_, b, err := ws.ReadMessage()
	if err != nil {
		return signaling.Frame{}, err
	}
	return signaling.Decode(b)
}

// hello begins or resumes a session, or refuses.
func (s *fake) hello(ws *websocket.Conn) *fakeSession {
	f, err := read(ws)
	if err != nil {
		return nil
	}
	var h signaling.Hello
	if err := f.Into(&h); err != nil || f.Type != signaling.TypeHello {
		s.t.Errorf("first frame is %s: %v", f.Kind(), err)
		return nil
	}
	s.mu.Lock()
	mute := s.mute
	s.mu.Unlock()
	if mute {
		read(ws)
		return nil
	}
	if sess := s.resume(ws, f.ID, h); sess != nil {
		return sess
	}
	if h.Token == "" || h.Token == "wrong" {
		refuse(ws, f.ID, signaling.CodeUnauthorized)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sess := s.session(h.Token)
	sess.attach(ws, f.ID, 0, false)
	return sess
}

// session makes a session; the lock is held.
func (s *fake) session(user string) *fakeSession {
	sess := &fakeSession{srv: s, user: user, id: "s-" + strconv.Itoa(len(s.requests)) + user, answers: map[string]signaling.Frame{}}
	s.sessions[user] = sess
	return sess
}

// resume finds the session that hello names.
func (s *fake) resume(ws *websocket.Conn, id string, h signaling.Hello) *fakeSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sess := range s.sessions {
		if h.Resume != "" && sess.resume == h.Resume {
			sess.attach(ws, id, h.LastSeq, true)
			return sess
		}
	}
	return nil
}

// refuse answers with an error and the close code that belongs to it.
func refuse(ws *websocket.Conn, id string, code signaling.Code) {
	f, _ := signaling.New(signaling.TypeError, "", signaling.Errorf(code, "no"))
	f.ID = id
	b, _ := signaling.Encode(f)
	ws.WriteMessage(websocket.TextMessage, b)
	ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code.Info().Close, string(code)))
	ws.ReadMessage()
}

// attach welcomes, and replays what was missed.
func (s *fakeSession) attach(ws *websocket.Conn, id string, lastSeq uint64, resumed bool) {
	if s.ws != nil {
		s.ws.Close()
	}
	s.ws, s.deaf = ws, false
	s.resume = s.id + "/" + id
	w := signaling.Welcome{Version: 1, SessionID: s.id, UserID: s.user, ResumeToken: s.resume, Resumed: resumed,
		TokenTTL: s.srv.tokenTTL}
	if ice := s.srv.ice; ice != nil {
		servers, ttl := ice(s.user)
		w.ICEServers, w.ICETTL = servers, int(ttl.Seconds())
	}
	if resumed {
		w.Call = s.srv.in
	}
	if k := s.srv.call; k != nil && resumed {
		w.Call = &signaling.CallRef{CallID: k.id, RoomID: k.room, Peer: k.caller.user}
		if s == k.caller {
			w.Call.Peer = k.callee.user
		}
	}
	s.write(frame(signaling.TypeWelcome, "", id, w))
	for _, f := range s.pushed {
		if f.Seq > lastSeq {
			s.write(f)
		}
	}
	if s.onAttach != nil {
		s.onAttach()
	}
}

func frame(t signaling.Type, a signaling.Action, id string, data any) signaling.Frame {
	f, err := signaling.New(t, a, data)
	if err != nil {
		panic(err)
	}
	f.ID = id
	return f
}

func (s *fakeSession) write(f signaling.Frame) {
	if s.ws == nil || s.deaf {
		return
	}
	b, err := signaling.Encode(f)
	if err != nil {
		panic(err)
	}
	s.ws.WriteMessage(websocket.TextMessage, b)
}

// push sends a numbered frame now or after a resume.
func (s *fakeSession) push(t signaling.Type, a signaling.Action, data any) {
	if s.level0 {
		s.push0(t, a, data)
		return
	}
	f := frame(t, a, "", data)
	f.Seq = uint64(len(s.pushed) + 1)
	s.pushed = append(s.pushed, f)
	s.write(f)
}

func (s *fakeSession) rtc(a signaling.Action, data signaling.RTC) { s.push(signaling.TypeRTC, a, data) }

// handle does a request once, and answers it as often as it comes.
func (s *fakeSession) handle(f signaling.Frame) {
	s.srv.requests = append(s.srv.requests, s.user+" "+f.Kind())
	if hook := s.srv.onRequest; hook != nil && hook(s, f) {
		return
	}
	switch {
	case s.level0:
		s.handle0(f)
		return
	case f.Type == signaling.TypeAck:
		var receipt signaling.Receipt
		if err := f.Into(&receipt); err != nil || f.ID != "" {
			s.srv.t.Errorf("receipt %+v: %v", f, err)
		}
		s.receipts = append(s.receipts, receipt.Seq)
		return
	}
	answer, ok := s.answers[f.ID]
	if !ok {
		answer = s.answer(f)
		s.answers[f.ID] = answer
	}
	s.write(answer)
}

func (s *fakeSession) answer(f signaling.Frame) signaling.Frame {
	out, err := s.perform(f)
	if err != nil {
		return frame(signaling.TypeError, "", f.ID, signaling.AsError(err))
	}
	return frame(signaling.TypeAck, "", f.ID, out)
}

// perform does a request of any type.
func (s *fakeSession) perform(f signaling.Frame) (any, error) {
	switch f.Type {
	case signaling.TypeMessage:
		return s.deliver(f)
	case signaling.TypeState:
		return s.presence(f)
	case signaling.TypeToken:
		return s.renew(f)
	case signaling.TypeTURN:
		return s.iceServers()
	}
	var in signaling.RTC
	if err := f.Into(&in); err != nil {
		return nil, err
	}
	return s.do(f.Action, in)
}

func (s *fakeSession) iceServers() (any, error) {
	if s.srv.ice == nil {
		return nil, signaling.Errorf(signaling.CodeUnknownType, "no TURN server")
	}
	servers, ttl := s.srv.ice(s.user)
	return signaling.TURN{ICEServers: servers, TTL: int(ttl.Seconds())}, nil
}

func (s *fakeSession) do(action signaling.Action, in signaling.RTC) (signaling.RTC, error) {
	k := s.srv.call
	if action == signaling.ActionCall {
		return s.startCall(in.TargetUser)
	}
	if action == signaling.ActionLeave {
		s.leave(in, "")
		return signaling.RTC{}, nil
	}
	if !k.is(in) || s != k.caller && s != k.callee {
		return signaling.RTC{}, signaling.Errorf(signaling.CodeNoSuchCall, "no such call")
	}
	with := k.ref()
	with.UserID = s.user
	switch action {
	case signaling.ActionRinging:
		k.caller.rtc(signaling.ActionRinging, with)
	case signaling.ActionReject, signaling.ActionBusy, signaling.ActionCancel:
		return signaling.RTC{}, s.decline(k, action, in)
	case signaling.ActionJoin:
		if k.answered {
			return signaling.RTC{}, nil
		}
		fallthrough
	case signaling.ActionAnswer:
		k.answered = true
		k.caller.rtc(signaling.ActionAnswer, with)
	case signaling.ActionOffer:
		if s.srv.hub != nil {
			return signaling.RTC{}, s.srv.hub.offer(s, in)
		}
	case signaling.ActionCandidate:
		if s.srv.hub != nil {
			return signaling.RTC{}, s.srv.hub.candidate(s, in)
		}
	}
	return signaling.RTC{}, nil
}

func (s *fakeSession) startCall(target string) (signaling.RTC, error) {
	callee := s.srv.sessions[target]
	switch {
	case s.srv.call != nil:
		return signaling.RTC{}, signaling.Errorf(signaling.CodeBusy, "busy")
	case callee == nil:
		return signaling.RTC{}, signaling.Errorf(signaling.CodeUserUnavailable, "unavailable")
	}
	s.srv.calls++
	n := strconv.Itoa(s.srv.calls)
	k := &fakeCall{id: "c-" + n, room: "r-" + n, caller: s, callee: callee}
	s.srv.call = k
	callee.push(signaling.TypeInvite, "", signaling.Invite{RoomID: k.room, CallID: k.id, From: s.user, Expire: 60})
	return k.ref(), nil
}

// leave ends the call, or confirms that it ended.
func (s *fakeSession) leave(in signaling.RTC, reason signaling.Reason) {
	k := s.srv.call
	if !k.is(in) {
		return
	}
	end := k.ref()
	end.UserID = s.user
	other := k.caller
	switch {
	case reason != "":
		end.Reason = reason
	case k.answered:
		end.Reason = signaling.ReasonHangup
	case s == k.callee:
		end.Reason = signaling.ReasonDeclined
	default:
		end.Reason = signaling.ReasonCancelled
	}
	if s == k.caller {
		other = k.callee
	}
	s.srv.call = nil
	other.rtc(signaling.ActionEnded, end)
}

// intercept sets onRequest.
func (s *fake) intercept(f func(*fakeSession, signaling.Frame) bool) {
	s.locked(func() { s.onRequest = f })
}

// locked runs f as the server.
func (s *fake) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// count is how often a request came, repetitions included.
func (s *fake) count(request string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if r == request {
			n++
		}
	}
	return n
}

// forget drops all sessions, as a server does that starts anew.
func (s *fake) forget() {
	s.locked(func() {
		for _, sess := range s.sessions {
			if sess.ws != nil {
				sess.ws.Close()
			}
		}
		s.sessions, s.call = map[string]*fakeSession{}, nil
	})
}
