package server_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/callbench/callbench/server"
)

// A part that is missing is named to everybody, and why to administrators only.
func TestReady(t *testing.T) {
	var asked int
	var broken, spare error
	tune := func(c *server.Config) {
		c.Checks = []server.Check{{Name: "redis", Ask: func(context.Context) error { asked++; return broken }},
			{Name: "media server", Ask: func(ctx context.Context) error { return nil }},
			{Name: "mysql", Ask: func(ctx context.Context) error { return spare }, Spare: true}}
	}
	bubble(t, tune, func(t *testing.T, w *world) {
		is := func(reasons bool, code int, want string) {
			t.Helper()
			if got, body := w.look(w.srv.Ready(reasons), "/readyz"); got != code || body != want+"\n" {
				t.Errorf("%d %s, want %d %s", got, body, code, want)
			}
		}
		is(false, 200, `{"ready":true,"parts":{"media server":"ok","mysql":"ok","redis":"ok"}}`)
		broken = fmt.Errorf("dial 10.1.0.6: %w", errBroken)
		is(false, 200, `{"ready":true,"parts":{"media server":"ok","mysql":"ok","redis":"ok"}}`) // not asked again within a second
		time.Sleep(time.Second)
		is(false, 503, `{"ready":false,"parts":{"media server":"ok","mysql":"ok","redis":"not there"}}`)
		is(true, 503, `{"ready":false,"parts":{"media server":"ok","mysql":"ok","redis":"dial 10.1.0.6: broken"}}`)
		if asked != 2 {
			t.Errorf("Redis was asked %d times", asked)
		}
		broken, spare = nil, errBroken
		time.Sleep(time.Second)
		is(false, 200, `{"ready":true,"parts":{"media server":"ok","mysql":"not there","redis":"ok"}}`)
		is(true, 200, `{"ready":true,"parts":{"media server":"ok","mysql":"broken","redis":"ok"}}`)
		w.srv.Drain()
		is(false, 503, `{"ready":false,"why":"the server drains or shuts down","parts":{"media server":"ok","mysql":"not there","redis":"ok"}}`)
		w.join("alice") // who comes all the same is served
	})
}
