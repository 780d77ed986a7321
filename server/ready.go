package server

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// Check asks whether a part that the server needs is there. Ask returns at the
// latest when its context ends.
type Check struct {
	Name string
	Ask  func(context.Context) error
	// Spare is set for a part that the server does without for a while: it is told
	// that it is missing, and the server is ready all the same.
	Spare bool
}

// freshness is how long the answers of the checks are good: so often they are
// asked, however often somebody wants to know.
const freshness = time.Second

// readiness remembers what the checks said.
type readiness struct {
	mu       sync.Mutex
	at       time.Time
	failures []error // by check
	draining bool
}

// Drain tells who asks that nobody new should come. Everything else goes on.
func (s *Server) Drain() {
	s.ready.mu.Lock()
	defer s.ready.mu.Unlock()
	s.ready.draining = true
}

// Ready answers 200 if everything that the server cannot do without is there, and 503
// if not, or if it drains or shuts down: a load balancer then sends nobody new. It says
// which part is missing, and with reasons, which are for administrators, why.
func (s *Server) Ready(reasons bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body := struct {
			Ready bool              `json:"ready"`
			Why   string            `json:"why,omitempty"`
			Parts map[string]string `json:"parts"`
		}{Ready: true, Parts: map[string]string{}}
		failures, draining := s.ask()
		for i, c := range s.cfg.Checks {
			err := failures[i]
			body.Ready = body.Ready && (err == nil || c.Spare)
			switch {
			case err == nil:
				body.Parts[c.Name] = "ok"
			case reasons:
				body.Parts[c.Name] = err.Error()
			default:
				body.Parts[c.Name] = "not there"
			}
		}
		if draining || s.isClosed() {
			body.Ready, body.Why = false, "the server drains or shuts down"
		}
		w.Header().Set("Content-Type", "application/json")
		if !body.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(body)
	})
}

// ask asks all checks at once, unless their last answers are fresh.
func (s *Server) ask() (failures []error, draining bool) {
	r := &s.ready
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failures != nil && time.Since(r.at) < freshness {
		return r.failures, r.draining
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.StoreTimeout)
	defer cancel()
	r.failures = make([]error, len(s.cfg.Checks))
	var asked sync.WaitGroup
	for i, c := range s.cfg.Checks {
		asked.Go(func() { r.failures[i] = c.Ask(ctx) })
	}
	asked.Wait()
	r.at = time.Now()
	for i, c := range s.cfg.Checks {
		if r.failures[i] != nil {
			s.log.Warn("part.missing", "part", c.Name, "error", r.failures[i].Error())
		}
	}
	return r.failures, r.draining
}
