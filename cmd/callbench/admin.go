package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/callbench/callbench/server"
)

// adminFlags are what administrators get, on an address of its own.
type adminFlags struct {
	Admin      string        `env:"CALLBENCH_ADMIN" placeholder:"127.0.0.1:PORT" help:"Address for administrators: /debug/calls, /debug/pprof/, /revocations, /readyz with reasons; if not given, there is none."`
	AdminToken string        `env:"CALLBENCH_ADMIN_TOKEN" help:"What administrators show as Authorization: Bearer, 16 bytes or more."`
	DrainDelay time.Duration `env:"CALLBENCH_DRAIN_DELAY" default:"0s" help:"How long /readyz says 503 before calls end when the server is told to stop."`
}

// minAdminToken keeps administrators from choosing what can be guessed.
const minAdminToken = 16

func (f *adminFlags) check() error {
	switch {
	case (f.Admin == "") != (f.AdminToken == ""):
		return errors.New("-admin and -admin-token (CALLBENCH_ADMIN_TOKEN) go together")
	case f.Admin != "" && len(f.AdminToken) < minAdminToken:
		return fmt.Errorf("-admin-token must have %d bytes or more; `openssl rand -base64 24` makes one", minAdminToken)
	case f.DrainDelay < 0:
		return errors.New("-drain-delay must not be negative")
	}
	return nil
}

// admin serves administrators until the host closes.
func (h *host) admin(f adminFlags, srv *server.Server) error {
	if f.Admin == "" {
		return nil
	}
	ln, err := net.Listen("tcp", f.Admin)
	if err != nil {
		return fmt.Errorf("listen for administrators: %w (-admin takes another address; 127.0.0.1:0 is a free port)", err)
	}
	web := &http.Server{Handler: guarded(f.AdminToken, adminRoutes(srv)), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	done := make(chan error, 1)
	go func() { done <- web.Serve(ln) }()
	h.stop = append(h.stop, func() error {
		err := web.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	h.part("admin", "http://"+ln.Addr().String()+"/debug/calls")
	return nil
}

func adminRoutes(srv *server.Server) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /debug/calls", srv.Calls())
	mux.Handle("GET /readyz", srv.Ready(true))
	mux.Handle("POST /revocations", revoke(srv))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// guarded lets in who shows the token.
func guarded(token string, inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(shown), []byte(token)) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "show the admin token as Authorization: Bearer", http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// maxRevocation is the longest body of a revocation, in bytes.
const maxRevocation = 4096

// revoke takes tokens back: a server.Revocation as JSON. Without before all tokens
// of the user that were issued until now are meant.
func revoke(srv *server.Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in server.Revocation
		decoder := json.NewDecoder(io.LimitReader(r.Body, maxRevocation))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&in); err != nil {
			http.Error(w, `the body is not like {"tokenId":"…"} or {"user":"…","before":"2006-01-02T15:04:05Z"}, each with until if it may be forgotten then: `+err.Error(), http.StatusBadRequest)
			return
		}
		if in.User != "" && in.Before.IsZero() {
			in.Before = time.Now()
		}
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		ended, err := srv.Revoke(ctx, in)
		switch {
		case errors.Is(err, server.ErrRevocation):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]int{"ended": ended})
		}
	})
}
