package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestDebtsAreForgotten has more removals fail than are remembered: those too many
// are counted, and the others are done when State is back.
func TestDebtsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := stillServer(t)
		defer s.Close()
		var away atomic.Bool
		var paid atomic.Int64
		away.Store(true)
		pay := func(context.Context) error {
			if away.Load() {
				return errors.New("away")
			}
			paid.Add(1)
			return nil
		}
		for range maxDebts + 3 {
			s.owes(debt{"leave room", pay})
		}
		page := httptest.NewRecorder()
		s.Metrics().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if !strings.Contains(page.Body.String(), "\ncallbench_state_forgotten_total 3\n") {
			t.Error("those that were too many are not counted")
		}
		away.Store(false)
		time.Sleep(time.Minute)
		if n := paid.Load(); n != maxDebts {
			t.Errorf("%d removals are done", n)
		}
	})
}
