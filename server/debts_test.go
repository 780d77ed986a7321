package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
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
		away, paid := true, 0
		pay := func(context.Context) error {
			if away {
				return errors.New("away")
			}
			paid++
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
		away = false
		time.Sleep(time.Minute)
		if paid != maxDebts {
			t.Errorf("%d removals are done", paid)
		}
	})
}
