package kmsmock

import (
	"log/slog"
	"time"
)

const (
	protocolVersion = "2.0"
	newRef          = "newref:"
	// cacheTime is how long a response answers every request of its id again.
	cacheTime = 20 * time.Second
	// usualFrame is more than most responses need, in bytes.
	usualFrame = 256
)

// A reply is what becomes of one frame from a client.
type reply struct {
	frame []byte
	delay time.Duration
	drop  bool // cut the TCP connection without a close frame

	fate   fate    // what rules do to the answer
	silent bool    // a script has swallowed the request
	scenes []scene // what scripts do after the answer
}

// serve handles one frame of connection c.
func (s *Server) serve(c *conn, frame []byte) reply {
	req, err := parseJSON(frame)
	if err != nil {
		return reply{drop: true}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	req, ok := inject(req, c.session)
	if !ok {
		return reply{drop: true}
	}
	pace := &pacing{respond: s.pace.respond}
	life := s.life
	resp, _ := s.handle(req, pace)
	if s.crashed || s.life != life || pace.fate.is(Cut) {
		return reply{drop: true}
	}
	rep := reply{delay: pace.respond, fate: pace.fate, silent: pace.silent, scenes: pace.scenes, frame: []byte{}}
	if pace.silent || pace.fate.is(HalfOpen, Hangup) {
		return rep
	}
	s.bind(c, responseSession(resp, c.session))
	if resp != nil {
		rep.frame = appendJSON(make([]byte, 0, usualFrame), resp)
	}
	return rep
}

// inject puts the connection's session into a request that names none. What
// has no room for it breaks the server's thread, and with it the connection.
func inject(req value, sessionID string) (value, bool) {
	if sessionID == "" {
		return req, true
	}
	root, ok := asObject(req)
	if !ok {
		return nil, false
	}
	params, ok := asObject(root["params"])
	if !ok {
		return nil, false
	}
	if id, given := params["sessionId"]; given {
		if _, usable := toString(id); usable {
			return root, true
		}
	}
	params["sessionId"] = sessionID
	root["params"] = params
	return root, true
}

// asObject takes null for an empty object, as jsoncpp does when a member is set.
func asObject(v value) (object, bool) {
	if v == nil {
		return object{}, true
	}
	o, ok := v.(object)
	return o, ok
}

// responseSession is the session that a connection belongs to after a
// response: the one in its result, none change after a result without one,
// and no binding by an error.
func responseSession(resp value, current string) string {
	o, ok := resp.(object)
	if !ok {
		return current
	}
	if _, failed := o["error"]; failed {
		return ""
	}
	result, ok := o["result"].(object)
	if !ok {
		return current
	}
	if id, ok := toString(result["sessionId"]); ok && id != "" {
		return id.(string)
	}
	return current
}

// bind makes c the connection of a session. The connection that had it before
// gets no more events and has no session of its own until it asks again.
func (s *Server) bind(c *conn, id string) {
	if id == "" {
		return
	}
	old, had := s.bound[id]
	if had && old == c && c.session == id {
		return
	}
	if had && old != c {
		old.session = ""
	}
	if c.session != "" && c.session != id {
		delete(s.bound, c.session)
	}
	s.bound[id] = c
	c.session = id
	if ses := s.sessions[id]; ses != nil {
		ses.inUse = true
	}
	s.log.LogAttrs(s.ctx, slog.LevelInfo, "kms.session.bound", slog.String("session", id), slog.Int64("conn", c.serial))
}

// unbind forgets a connection that has closed.
func (s *Server) unbind(c *conn) {
	if c.session != "" && s.bound[c.session] == c {
		delete(s.bound, c.session)
	}
	c.session = ""
}

// handle answers one request object, from a frame or inside a transaction.
// It returns whether the request succeeded.
func (s *Server) handle(req value, pace *pacing) (value, bool) {
	msg, ok := validRequest(req)
	if !ok {
		return response(nil, "error", failf(codeInvalidRequest, "", "Invalid JSON-RPC request.").body()), false
	}
	id, hasID := msg["id"]
	if stop, err := s.struck(msg, pace); stop || err != nil {
		return respond(id, nil, err), false
	}
	name := msg["method"].(string)
	method, known := methods[name]
	if !known {
		resp := response(id, "error", failf(codeMethodNotFound, "", "Method not found.").body())
		s.remember(msg, resp)
		return resp, false
	}
	if cached, ok := s.recall(msg); ok {
		_, failed := cached["error"]
		s.logRequest(msg, nil, true)
		return cached, !failed
	}
	resp, err := s.execute(method, msg, pace)
	s.logRequest(msg, err, false)
	if err == nil && (!hasID || id == nil) {
		if resp == nil {
			return nil, true
		}
		resp, err = nil, &notification{resp}
	}
	out := respond(id, resp, err)
	s.remember(msg, out)
	return out, err == nil
}

// struck lets the rules and scripts have a request. It returns whether it
// ends here, with an error if it is answered with one.
func (s *Server) struck(msg object, pace *pacing) (stop bool, err error) {
	if len(s.rules) == 0 && len(s.scripts) == 0 {
		return false, nil
	}
	sub := s.subjectOf(msg)
	scenes, swallow := s.cue(sub, msg["id"])
	pace.scenes = append(pace.scenes, scenes...)
	f := s.judge(sub)
	if f.delay > 0 {
		life := s.life
		s.wait(f.delay)
		stop = s.crashed || s.closed || s.life != life
	}
	switch {
	case swallow:
		pace.silent = true
		return true, nil
	case f.is(Refuse):
		r := f.rule.Error
		err = failf(r.Code, r.Type, "%s", r.Message)
		s.logRequest(msg, err, false)
		return true, err
	case f.rule != nil:
		pace.fate = f
	}
	return stop || f.is(Cut, HalfOpen, Hangup), nil
}

// A notification is a request without id: executed, then answered with an
// error that carries the result as data.
type notification struct{ result object }

func (*notification) Error() string { return "Ignoring response because of a notification request" }

func (s *Server) execute(method rpcMethod, msg object, pace *pacing) (object, error) {
	out := object{}
	if err := method(s, msg["params"], out, pace); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

func respond(id value, result object, err error) object {
	switch e := err.(type) {
	case nil:
		if result == nil {
			return response(id, "result", nil)
		}
		return response(id, "result", result)
	case *fault:
		return response(id, "error", e.body())
	case *notification:
		body := failf(codeServer, "", "%s", e.Error()).body()
		body["data"] = e.result
		return response(id, "error", body)
	default:
		return response(id, "error", errUnexpected(err.Error()).body())
	}
}

func response(id value, member string, v value) object {
	return object{"id": id, "jsonrpc": protocolVersion, member: v}
}

// validRequest checks what makes a JSON-RPC request; batches are none.
func validRequest(req value) (object, bool) {
	msg, ok := req.(object)
	if !ok || msg["jsonrpc"] != protocolVersion {
		return nil, false
	}
	switch msg["id"].(type) {
	case array, object:
		return nil, false
	}
	_, ok = msg["method"].(string)
	return msg, ok
}

// A cacheKey is how the server recognises a repeated request: 200 and "200" of
// one session are the same.
type cacheKey struct{ session, id string }

type cached struct {
	key     cacheKey
	resp    object
	expires time.Time
}

// recall returns the response that was given to the same id of the same
// session within the cache time, whatever was asked then.
func (s *Server) recall(msg object) (object, bool) {
	if s.cfg.DisableRequestCache {
		return nil, false
	}
	params, ok := msg["params"].(object)
	if !ok {
		return nil, false
	}
	key, ok := keyOf(msg, params)
	if !ok {
		return nil, false
	}
	hit, ok := s.cache[key]
	if !ok || !time.Now().Before(hit.expires) {
		return nil, false
	}
	return hit.resp, true
}

func keyOf(msg, sessionHolder object) (cacheKey, bool) {
	id, hasID := msg["id"]
	ses, hasSession := sessionHolder["sessionId"]
	idText, ok1 := toString(id)
	sesText, ok2 := toString(ses)
	if !hasID || !hasSession || !ok1 || !ok2 {
		return cacheKey{}, false
	}
	return cacheKey{session: sesText.(string), id: idText.(string)}, true
}

// remember caches a response, errors too, unless it belongs to no session.
// The session is the result's; an answer without one counts for the request's.
func (s *Server) remember(msg object, resp value) {
	if s.cfg.DisableRequestCache {
		return
	}
	out, ok := resp.(object)
	if !ok {
		return
	}
	holder, _ := out["result"].(object)
	key, ok := keyOf(msg, holder)
	if !ok {
		params, _ := msg["params"].(object)
		if key, ok = keyOf(msg, params); !ok {
			return
		}
	}
	s.forget()
	if hit, ok := s.cache[key]; ok && time.Now().Before(hit.expires) {
		return
	}
	entry := &cached{key: key, resp: out, expires: time.Now().Add(cacheTime)}
	s.cache[key] = entry
	s.cacheQueue = append(s.cacheQueue, entry)
}

// forget removes what has expired from the cache.
func (s *Server) forget() {
	now := time.Now()
	n := 0
	for n < len(s.cacheQueue) && !now.Before(s.cacheQueue[n].expires) {
		if old := s.cacheQueue[n]; s.cache[old.key] == old {
			delete(s.cache, old.key)
		}
		n++
	}
	s.cacheQueue = s.cacheQueue[n:]
}

func (s *Server) logRequest(msg object, err error, fromCache bool) {
	if !s.log.Enabled(s.ctx, slog.LevelInfo) {
		return
	}
	params, _ := msg["params"].(object)
	attrs := []slog.Attr{slog.String("method", msg["method"].(string))}
	for _, m := range []struct{ member, attr string }{{"object", "object"}, {"operation", "operation"}, {"type", "type"}, {"sessionId", "session"}} {
		if text, ok := toString(params[m.member]); ok && text != "" {
			attrs = append(attrs, slog.Any(m.attr, text))
		}
	}
	if err != nil {
		code := codeInternal
		if f, ok := err.(*fault); ok {
			code = f.code
		}
		attrs = append(attrs, slog.Int("code", code))
	}
	if fromCache {
		attrs = append(attrs, slog.Bool("cached", true))
	}
	s.log.LogAttrs(s.ctx, slog.LevelInfo, "kms.request", attrs...)
}
