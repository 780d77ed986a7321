package server

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/callbench/callbench/internal/serial"
	"github.com/callbench/callbench/signaling"
)

// route is what a frame is routed by.
type route struct {
	typ    signaling.Type
	action signaling.Action
}

// handler does a request. It runs on the goroutine of the session's connection
// and must not wait for anything: what takes time goes to an ordered queue. A
// handler that returns nil has answered the request or sees to it that it will
// be; an error answers it.
type handler func(request) error

// handlers is the table of everything that a client may ask for. It is not
// changed; a new feature is a line here and a file of its own.
var handlers = map[route]handler{
	{signaling.TypeRTC, signaling.ActionCall}:      handleCall,
	{signaling.TypeRTC, signaling.ActionRinging}:   handleRinging,
	{signaling.TypeRTC, signaling.ActionAnswer}:    handleAnswer,
	{signaling.TypeRTC, signaling.ActionJoin}:      handleJoin,
	{signaling.TypeRTC, signaling.ActionOffer}:     handleOffer,
	{signaling.TypeRTC, signaling.ActionCandidate}: handleCandidate,
	{signaling.TypeRTC, signaling.ActionReject}:    handleDecline,
	{signaling.TypeRTC, signaling.ActionBusy}:      handleDecline,
	{signaling.TypeRTC, signaling.ActionCancel}:    handleCancel,
	{signaling.TypeRTC, signaling.ActionLeave}:     handleLeave,
	{signaling.TypeRTC, signaling.ActionRole}:      handleRole,
	{signaling.TypeRTC, signaling.ActionKick}:      handleKick,
	{signaling.TypeRTC, signaling.ActionRecord}:    handleRecord,
	{signaling.TypeMessage, ""}:                    handleMessage,
	{signaling.TypeState, ""}:                      handleState,
	{signaling.TypeAck, ""}:                        handleReceipt,
	{signaling.TypeToken, ""}:                      handleToken,
	{signaling.TypeTURN, ""}:                       handleTURN,
	{signaling.TypeHistory, ""}:                    handleHistory,
}

// Why a session ended, as the log says.
const (
	causeGoodbye  = "goodbye"  // the client closed the connection with 1000
	causeExpired  = "expired"  // it dropped and was not resumed in time
	causeLost     = "lost"     // its connection was lost, and level 0 has no resume
	causeReplaced = "replaced" // the same device came back with a new session
	causeRevoked  = "revoked"  // its token was taken back
	causeCrowded  = "crowded"  // its user began another, and had too many
	causeShutdown = "shutdown"
)

// maxID is the longest request id, in bytes.
const maxID = 64

// session is a client over all its connections. Its methods may be called by
// anybody. What mu protects is touched for moments only, never while waiting:
// numbering a push and queueing it must be one step, and a queue of its own
// would cost every push a goroutine's wake-up.
type session struct {
	srv    *Server
	id     string
	user   string
	device string
	number uint64 // of the server's sessions, in the order in which they began; set by the directory
	level  int
	since  time.Time
	room   atomic.Pointer[room] // the one that it is in; set and cleared by the directory
	ending []*room              // those that end and that it has not left, the oldest first; the directory's
	state  serial.Queue         // writes to State, and tokens to be verified, in order
	gone   bool                 // its record was removed; on the queue state only
	stored bool                 // State was given its record; there too

	backlog backlog // on the queue of the user's postbox only

	mu       sync.Mutex
	conn     *conn  // nil while detached
	secret   string // hash of the resume token's secret
	before   string // that of the one that was shown for it, good as long as the welcome may not have arrived
	last     *conn  // the last connection, also while detached; nil if that was another server's
	restored bool   // another server had the session, and its client has not come back yet
	sent     replay
	answers  answers
	drops    int         // how often a connection dropped
	expires  time.Time   // when its token runs out; zero is never
	proof    Identity    // what the token that holds it proves
	timer    *time.Timer // with a connection: until its token runs out; detached: until it ends
	ended    bool

	released  bool // what is stored for the user was pushed; until then the rest is held
	held      []pushed
	gossip    gossip
	gossiping atomic.Bool       // presences wait
	told      map[string]uint64 // the version of the presence that it was told last, by user
}

// log writes an event of the session.
func (u *session) log(kind string, attrs ...slog.Attr) { u.logAt(slog.LevelInfo, kind, attrs...) }

func (u *session) logAt(level slog.Level, kind string, attrs ...slog.Attr) {
	if !u.srv.log.Enabled(context.Background(), level) {
		return
	}
	all := append([]slog.Attr{slog.String("session", u.id), slog.String("user", u.user)}, attrs...)
	u.srv.log.LogAttrs(context.Background(), level, kind, all...)
}

// frameLog writes a record of one frame.
func (u *session) frameLog(event string, f *signaling.Frame) {
	if log := u.srv.log; log.Enabled(context.Background(), slog.LevelDebug) {
		log.LogAttrs(context.Background(), slog.LevelDebug, event, slog.String("session", u.id), slog.String("user", u.user),
			slog.String("frame", f.Kind()), slog.String("request", f.ID), slog.Uint64("seq", f.Seq), slog.Int("bytes", len(f.Data)))
	}
}

// request is a frame that a session's client sent.
type request struct {
	*session
	frame signaling.Frame
}

// handle does one frame. A request that was seen before is not done again: it
// gets its first answer again, or none yet if that is still to come. Level 0
// has no ids.
func (u *session) handle(f signaling.Frame) {
	if u.level == level0 {
		f.ID = ""
	}
	u.frameLog("frame.in", &f)
	if len(f.ID) > maxID {
		u.srv.metrics.refuse(signaling.CodeBadFrame)
		u.reply("", signaling.TypeError, signaling.Errorf(signaling.CodeBadFrame, "the id is longer than %d bytes", maxID))
		return
	}
	if f.ID != "" && u.repeated(f.ID) {
		return
	}
	r := request{u, f}
	if err := dispatch(r); err != nil {
		r.fail(err)
	}
}

func dispatch(r request) error {
	at := route{r.frame.Type, r.frame.Action}
	if h, ok := handlers[at]; ok && r.knowsRoute(at) {
		return h(r)
	}
	if r.frame.Type == signaling.TypeRTC {
		return signaling.Errorf(signaling.CodeUnknownAction, "no action %q", r.frame.Action)
	}
	if r.frame.Type == signaling.TypeHello && !r.srv.cfg.Level0 {
		return signaling.Errorf(signaling.CodeBadState, "hello was said")
	}
	return signaling.Errorf(signaling.CodeUnknownType, "no type %q", r.frame.Type)
}

// repeated reports whether the id was seen before, and answers again if so.
func (u *session) repeated(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	answer, known := u.answers.begin(id)
	if known && answer != nil && u.conn != nil {
		u.conn.send(answer)
	}
	return known
}

// ack answers that the request was done. Requests without an id are not
// answered.
func (r request) ack(data any) {
	switch {
	case r.level == level0:
		r.ack0(data)
	case r.frame.ID != "":
		r.reply(r.frame.ID, signaling.TypeAck, data)
	}
}

// fail answers that the request was refused.
func (r request) fail(err error) {
	wire := signaling.AsError(err)
	r.srv.metrics.refuse(wire.Code)
	level := slog.LevelDebug
	if wire.Code == signaling.CodeInternal {
		level = slog.LevelError
	}
	r.logAt(level, "request.refused", slog.String("frame", r.frame.Kind()), slog.String("request", r.frame.ID),
		slog.String("code", string(wire.Code)), slog.String("error", err.Error()))
	r.reply(r.frame.ID, signaling.TypeError, wire)
}

func (u *session) reply(id string, t signaling.Type, data any) {
	f := signaling.Frame{Type: t, ID: id}
	b, err := encode(f, data)
	if err != nil {
		u.logAt(slog.LevelError, "session.failed", slog.String("request", id), slog.String("error", err.Error()))
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.frameLog("frame.out", &f)
	if id != "" {
		u.answers.done(id, b)
	}
	if u.conn != nil {
		u.conn.send(b)
	}
}

// push sends a frame of the server's own. It is numbered and kept until the
// client says that it has it.
func (u *session) push(t signaling.Type, a signaling.Action, data any) { u.pushThen(t, a, data, nil) }

// pushThen is push, and acked runs once when the client has the frame: at level
// 1 when it said so, at level 0 when the frame was written to its connection.
// It never runs if the session ends before. It must not wait; it may push.
func (u *session) pushThen(t signaling.Type, a signaling.Action, data any, acked func()) {
	f, err := signaling.New(t, a, data)
	if err != nil {
		u.logAt(slog.LevelError, "session.failed", slog.String("error", err.Error()))
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.emitOrHold(f, acked)
}

// emitOrHold sends a push, or holds it until what is stored for the user was pushed.
// u.mu is held.
func (u *session) emitOrHold(f signaling.Frame, acked func()) {
	if !u.released {
		u.held = append(u.held, pushed{f, acked})
		return
	}
	u.emit(f, acked)
}

// emit numbers a push and sends it. u.mu is held.
func (u *session) emit(f signaling.Frame, acked func()) {
	if u.ended {
		return
	}
	if u.level == level0 {
		u.push0(f, acked)
		return
	}
	b := u.numbered(f, acked)
	if u.conn != nil {
		u.conn.send(b)
	}
}

// numbered numbers and keeps a push of level 1, and returns it as it is sent. u.mu is
// held.
func (u *session) numbered(f signaling.Frame, acked func()) []byte {
	f.Seq = u.sent.last + 1
	b := signaling.Render(f)
	u.frameLog("frame.out", &f)
	u.sent.add(b, acked)
	if f.Type == signaling.TypeInvite {
		u.sent.age(expiry(f))
	}
	return b
}

// pushAll is push for frames that come at the same time, which leave in one write.
func (u *session) pushAll(frames []signaling.Frame) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended || !u.released || u.level == level0 {
		for _, f := range frames {
			u.emitOrHold(f, nil)
		}
		return
	}
	all := make([][]byte, len(frames))
	for i, f := range frames {
		all[i] = u.numbered(f, nil)
	}
	if u.conn != nil {
		u.conn.sendAll(all)
	}
}

// encode renders a frame with data.
func encode(f signaling.Frame, data any) ([]byte, error) {
	filled, err := signaling.New(f.Type, f.Action, data)
	if err != nil {
		return nil, err
	}
	filled.ID, filled.Seq = f.ID, f.Seq
	return signaling.Render(filled), nil
}

// detach is told that a connection of the session has ended. Without goodbye
// the session waits to be resumed, which level 0 cannot.
func (u *session) detach(c *conn, goodbye bool) {
	u.mu.Lock()
	if u.conn != c || u.ended { // it moved to another connection
		u.mu.Unlock()
		return
	}
	if goodbye || u.level == level0 {
		cause := causeGoodbye
		if !goodbye {
			cause = causeLost
		}
		u.close(cause)
		u.mu.Unlock()
		u.leave()
		return
	}
	u.conn = nil
	u.drops++
	n := u.drops
	u.stopTimer()
	u.timer = time.AfterFunc(u.srv.cfg.ResumeWindow, func() { u.expire(n) })
	u.log("session.detach", slog.String("cause", string(c.cause)))
	if r := u.room.Load(); r != nil {
		r.queue.Do(func() { r.host.connection(u, false) })
	}
	u.mu.Unlock()
}

// expire ends a session that was not resumed in time after its n-th drop.
func (u *session) expire(n int) {
	u.mu.Lock()
	if u.ended || u.conn != nil || u.drops != n { // resumed at the last moment
		u.mu.Unlock()
		return
	}
	u.close(causeExpired)
	u.mu.Unlock()
	u.leave()
}

// end ends the session: its call ends, and it cannot be resumed.
func (u *session) end(cause string) {
	u.mu.Lock()
	if u.ended {
		u.mu.Unlock()
		return
	}
	conn := u.conn
	u.close(cause)
	u.mu.Unlock()
	u.leave()
	if conn != nil {
		conn.fail("", endError(cause))
	}
}

// close makes the session one that has ended. It is called once, by whoever
// decided so, under the lock of that decision; leave follows. u.mu is held.
func (u *session) close(cause string) {
	u.ended = true
	u.stopTimer()
	u.conn = nil
	u.log("session.end", slog.String("cause", cause))
}

// leave tells everybody that the session has ended.
func (u *session) leave() {
	u.srv.mender.buries(u.id) // before it is not known any more
	u.srv.users.remove(u)
	for _, r := range u.srv.users.roomsOf(u) {
		r.queue.Do(func() { r.host.gone(u) })
	}
	u.drop()
}

// endError is what the connection of a session that ends is told.
func endError(cause string) *signaling.Error {
	switch cause {
	case causeShutdown:
		return signaling.Errorf(signaling.CodeGoingAway, "the server shuts down")
	case causeRevoked:
		return signaling.Errorf(signaling.CodeRevoked, "the token was revoked")
	}
	return signaling.Errorf(signaling.CodeSuperseded, "the device came back with a new session")
}

// attached reports whether the session has a connection.
func (u *session) attached() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.conn != nil
}

// beat writes down when the client was last heard, and what State may have lost of
// its room.
func (u *session) beat(seen time.Time) {
	u.put(seen)
	if r := u.room.Load(); r != nil {
		r.queue.Do(func() { r.keep(u) })
	}
}

// put writes the session's record as it is when it is written.
func (u *session) put(seen time.Time) {
	u.save("put session", func(ctx context.Context) error {
		if u.gone { // a heartbeat at the last moment must not bring the record back
			return nil
		}
		r := u.record(seen)
		r.Known, u.stored = u.stored, true
		return u.srv.cfg.State.PutSession(ctx, r)
	}, u.srv.ails)
}

// record is the session as another server would resume it. It outlives the time
// that a client may be silent and then away.
func (u *session) record(seen time.Time) SessionRecord {
	cfg := &u.srv.cfg
	u.mu.Lock()
	defer u.mu.Unlock()
	r := SessionRecord{SessionID: u.id, UserID: u.user, ConnectedAt: u.since, HeartbeatAt: seen, TTL: cfg.Timeout + cfg.ResumeWindow,
		Node: cfg.Node, Device: u.device, Level: u.level, Secret: u.secret, Expires: u.expires,
		TokenID: u.proof.TokenID, Issued: u.proof.Issued, Received: u.sent.received()}
	if u.before != "" && !u.heard() {
		r.Before = u.before
	}
	return r
}

// drop removes the session's record. It is the last that the session does.
func (u *session) drop() {
	m := &u.srv.mender
	drop := func(ctx context.Context) error {
		err := u.srv.cfg.State.DropSession(ctx, u.id)
		if err == nil {
			m.buried(u.id)
		}
		return err
	}
	u.save("drop session", func(ctx context.Context) error {
		defer u.srv.work.Done()
		u.gone = true
		return drop(ctx)
	}, func() {
		if !u.srv.owes(debt{"drop session", drop}) {
			m.buried(u.id)
		}
	})
	u.state.Stop()
}

// maxWaiting is how much of what a client asks for may wait for a store that is slow.
const maxWaiting = 16

// mayWait is why a request that has to wait for a store cannot, nil if it can: what
// the server itself writes of the session waits behind it.
func (u *session) mayWait() error {
	if u.state.Len() >= maxWaiting {
		return signaling.Errorf(signaling.CodeLimitExceeded, "more than %d requests wait already", maxWaiting)
	}
	return nil
}

// save has something written to State, in order and without waiting for it. failed
// is told if that was not done, or State had lost what it had.
func (u *session) save(what string, write func(context.Context) error, failed func()) {
	u.state.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), u.srv.cfg.StoreTimeout)
		defer cancel()
		err := write(ctx)
		if err == nil {
			return
		}
		failed()
		if errors.Is(err, ErrStateLost) {
			u.logAt(slog.LevelWarn, "state.lost")
		} else {
			u.srv.metrics.lost.WithLabelValues(what).Inc()
			u.srv.log.Error("state.failed", "session", u.id, "user", u.user, "operation", what, "error", err.Error())
		}
	})
}
