package kmsmock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
)

const (
	controlPath = "/_control"
	maxControl  = 1 << 20 // bytes of a request
)

// A State is what the control endpoint shows of a server.
type State struct {
	ServerID    string       `json:"serverId"`
	Crashed     bool         `json:"crashed"`
	Objects     []Object     `json:"objects"`
	Sessions    []string     `json:"sessions"`
	Connections []Connection `json:"connections"`
	Rules       []RuleState  `json:"rules"`
	Scripts     []string     `json:"scripts"`
	Modes       Modes        `json:"modes"`
}

// A Connection is a websocket connection of a client.
type Connection struct {
	Serial  int64  `json:"serial"` // counts the connections of the server
	Session string `json:"session"`
}

// Modes are the accidents of Kurento that can be switched while it runs, named
// as in Config.
type Modes struct {
	NoNagle             bool `json:"noNagle"` // for connections from now on
	Shuffle             bool `json:"shuffle"`
	Warm                bool `json:"warm"`
	NoCrash             bool `json:"noCrash"`
	ResumablePlayer     bool `json:"resumablePlayer"`
	DisableRequestCache bool `json:"disableRequestCache"`
}

// Modes returns the server's present modes.
func (s *Server) Modes() Modes {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.modes()
}

func (s *Server) modes() Modes {
	c := &s.cfg
	return Modes{c.NoNagle, c.Shuffle, c.Warm, c.NoCrash, c.ResumablePlayer, c.DisableRequestCache}
}

// SetModes switches accidents on and off.
func (s *Server) SetModes(m Modes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.cfg
	c.NoNagle, c.Shuffle, c.Warm, c.NoCrash = m.NoNagle, m.Shuffle, m.Warm, m.NoCrash
	c.ResumablePlayer, c.DisableRequestCache = m.ResumablePlayer, m.DisableRequestCache
	s.log.Info("kms.modes", "no_nagle", m.NoNagle, "shuffle", m.Shuffle, "warm", m.Warm, "no_crash", m.NoCrash,
		"resumable_player", m.ResumablePlayer, "no_request_cache", m.DisableRequestCache)
}

// State returns what the server holds.
func (s *Server) State() State {
	st := State{Objects: append([]Object{}, s.Objects()...), Sessions: append([]string{}, s.Sessions()...), Rules: s.Rules(), Scripts: []string{}, Connections: []Connection{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.ServerID, st.Crashed, st.Modes = s.serverID, s.crashed, s.modes()
	for _, script := range s.scripts {
		st.Scripts = append(st.Scripts, script.Name)
	}
	for _, c := range s.sortedConns() {
		st.Connections = append(st.Connections, Connection{c.serial, c.session})
	}
	return st
}

func (s *Server) sortedConns() []*conn {
	return slices.SortedFunc(maps.Keys(s.open), func(a, b *conn) int { return int(a.serial - b.serial) })
}

func isControl(r *http.Request) bool {
	return r.URL.Path == controlPath || strings.HasPrefix(r.URL.Path, controlPath+"/")
}

// control serves the control endpoint.
func (s *Server) control(w http.ResponseWriter, r *http.Request) {
	const requests = "GET /_control; POST or DELETE /_control/rules and /_control/scripts; DELETE /_control/rules/NAME; POST /_control/commands; PUT /_control/modes"
	w.Header().Set("Connection", "close")
	if !s.mayControl(r) {
		refuseControl(w, http.StatusForbidden, "forbidden", errors.New("only programs on this machine, and no web pages, may control the server; callbench mock -control, Config.Control in Go, allows others"))
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+controlPath, func(w http.ResponseWriter, _ *http.Request) { answerControl(w, http.StatusOK, s.State()) })
	mux.HandleFunc("POST "+controlPath+"/rules", takes(func(rule Rule) (any, error) {
		name, err := s.AddRule(rule)
		return map[string]string{"name": name}, err
	}))
	mux.HandleFunc("DELETE "+controlPath+"/rules", func(w http.ResponseWriter, _ *http.Request) {
		s.RemoveRules()
		answerControl(w, http.StatusOK, struct{}{})
	})
	mux.HandleFunc("DELETE "+controlPath+"/rules/{name}", s.controlRemove)
	mux.HandleFunc("POST "+controlPath+"/scripts", takes(func(script Script) (any, error) { return struct{}{}, s.AddScript(script) }))
	mux.HandleFunc("DELETE "+controlPath+"/scripts", func(w http.ResponseWriter, _ *http.Request) {
		s.RemoveScripts()
		answerControl(w, http.StatusOK, struct{}{})
	})
	mux.HandleFunc("POST "+controlPath+"/commands", takes(func(c Command) (any, error) { return struct{}{}, s.Do(c) }))
	mux.HandleFunc("PUT "+controlPath+"/modes", takes(func(m Modes) (any, error) { s.SetModes(m); return m, nil }))
	if _, pattern := mux.Handler(r); pattern == "" {
		refuseControl(w, http.StatusNotFound, "not_found", fmt.Errorf("there is no %s %s; there are %s", r.Method, r.URL.Path, requests))
		return
	}
	mux.ServeHTTP(w, r)
}

// mayControl lets programs of this machine in, and no web page: a browser sends
// an Origin with whatever could change something.
func (s *Server) mayControl(r *http.Request) bool {
	if s.cfg.Control {
		return true
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return err == nil && net.ParseIP(host).IsLoopback() && r.Header.Get("Origin") == ""
}

func (s *Server) controlRemove(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if !s.RemoveRule(name) {
		refuseControl(w, http.StatusNotFound, "not_found", fmt.Errorf("there is no rule %q", name))
		return
	}
	answerControl(w, http.StatusOK, struct{}{})
}

// takes makes a handler that reads a V, exactly, and answers what run returns.
func takes[V any](run func(V) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControl))
		if err != nil {
			refuseControl(w, http.StatusRequestEntityTooLarge, "too_large", err)
			return
		}
		var v V
		if err := decodeStrict(body, &v); err != nil {
			refuseControl(w, http.StatusBadRequest, "malformed", err)
			return
		}
		out, err := run(v)
		if err != nil {
			refuseControl(w, http.StatusBadRequest, "refused", err)
			return
		}
		answerControl(w, http.StatusOK, out)
	}
}

// decodeStrict reads one JSON value that has no members but those of v.
func decodeStrict(b []byte, v any) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return errors.New("there is no JSON in the request's body")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}

func refuseControl(w http.ResponseWriter, status int, code string, err error) {
	answerControl(w, status, map[string]string{"code": code, "message": err.Error()})
}

func answerControl(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
