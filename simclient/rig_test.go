package simclient

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/simclient/media"
)

// delay is how long anything takes from host to host.
const delay = 10 * time.Millisecond

// rig is a network with a fake server and clients, in a bubble.
type rig struct {
	t     *testing.T
	net   *netsim.Topology
	srv   *fake
	pacer *media.Pacer
	ctx   context.Context
}

// actor is a client, its host and what it logged.
type actor struct {
	*Client
	*recorder
	host *netsim.Host
}

// bubble runs a test in virtual time. Whatever is not closed at its end fails
// it.
func bubble(t *testing.T, f func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		topology, err := netsim.NewTopology(netsim.TopologyConfig{Delay: delay})
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, net: topology, srv: newFake(t), pacer: media.NewPacer(media.PacerConfig{}), ctx: t.Context()}
		host := r.host("server")
		listener, err := host.Listen(":80")
		if err != nil {
			t.Fatal(err)
		}
		web := &http.Server{Handler: r.srv}
		go web.Serve(listener)
		t.Cleanup(func() {
			web.Close()
			r.srv.locked(func() {
				for _, s := range r.srv.sessions {
					if s.ws != nil {
						s.ws.Close()
					}
				}
			})
			r.srv.conns.Wait()
			if r.srv.hub != nil {
				r.srv.hub.close()
			}
			r.pacer.Close()
			topology.Close()
		})
		f(r)
	})
}

func (r *rig) host(name string) *netsim.Host {
	r.t.Helper()
	h, err := r.net.Host(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

// withMedia gives the server a media server.
func (r *rig) withMedia() *hub {
	r.srv.hub = newHub(r.t, r.host("kms").Net)
	return r.srv.hub
}

// client makes a client of that user; options change its Config.
func (r *rig) client(user string, options ...func(*Config)) *actor {
	r.t.Helper()
	a := &actor{recorder: newRecorder(), host: r.host(user)}
	cfg := Config{User: user, Device: "d", URL: "ws://server/ws", Dial: a.host.Dial, Net: a.host.Net, Pacer: r.pacer,
		Log: slog.New(a.recorder), Token: func(context.Context) (string, error) { return user, nil }}
	for _, o := range options {
		o(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	a.Client = c
	r.t.Cleanup(func() { c.Close() })
	return a
}

// atLevel makes a client speak that level of the protocol only.
func atLevel(level int) func(*Config) { return func(c *Config) { c.Level = &level } }

// connected makes a client and connects it.
func (r *rig) connected(user string, options ...func(*Config)) *actor {
	r.t.Helper()
	a := r.client(user, options...)
	r.must(a.Connect(r.ctx))
	return a
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// call lets alice call bob, who accepts, and waits until she knows.
func (r *rig) call(alice, bob *actor) {
	r.t.Helper()
	r.must(alice.Call(r.ctx, "bob"))
	bob.wait(r.t, time.Second, eventIncoming)
	r.must(bob.Accept(r.ctx))
	alice.wait(r.t, time.Second, eventAccepted)
}
