package server_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// TestRandomCalls lets three users, one of them on two devices, do anything at any
// time while the media server fails at random. In every other run carol's client is
// of level 0. Whatever they did: nobody is told the end of a call twice, nothing is
// left of it, and everybody can call again.
func TestRandomCalls(t *testing.T) {
	seeds := 30
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				p := &player{w: w, rand: rand.New(rand.NewPCG(uint64(seed), 1)), users: make(map[string]*user)}
				for _, name := range []string{"alice", "bob", "carol"} {
					p.users[name] = &user{name: name, plain: name == "carol" && seed%2 == 1}
					p.connect(p.users[name])
				}
				p.users["bob's laptop"] = &user{name: "bob"}
				p.connect(p.users["bob's laptop"])
				for range 150 {
					p.step()
				}
				p.calmDown(t)
			})
		})
	}
}

type player struct {
	w     *world
	rand  *rand.Rand
	users map[string]*user
	sent  int
}

type user struct {
	name   string
	plain  bool    // its client is of level 0
	client *client // nil while its connection is down
	all    []*client
	token  string
	ref    signaling.RTC
}

func (p *player) connect(u *user) {
	if u.plain {
		u.client = p.w.join0(u.name)
		u.all = append(u.all, u.client)
		return
	}
	c, welcome := p.w.enter(u.name)
	u.client, u.token, u.all = c, welcome.ResumeToken, append(u.all, c)
}

func (p *player) pick() *user {
	return p.users[[]string{"alice", "bob", "carol", "bob's laptop"}[p.rand.IntN(4)]]
}

// step does something, and perhaps lets time pass.
func (p *player) step() {
	u := p.pick()
	if u.client == nil {
		p.comeBack(u)
		return
	}
	p.learn(u)
	ref := u.ref
	switch n := p.rand.IntN(100); {
	case n < 15:
		p.send(u, signaling.ActionCall, signaling.RTC{TargetUser: p.pick().name})
	case n < 25:
		p.talk(u, p.pick())
	case n < 45:
		p.send(u, signaling.ActionAnswer, ref)
	case n < 60:
		ref.SDP = sdpOffer
		p.send(u, signaling.ActionOffer, ref)
	case n < 70:
		ref.Candidate = hostCandidate
		p.send(u, signaling.ActionCandidate, ref)
	case n < 77:
		p.send(u, signaling.ActionLeave, ref)
	case n < 83:
		words := []signaling.Action{signaling.ActionRinging, signaling.ActionJoin, signaling.ActionReject, signaling.ActionBusy, signaling.ActionCancel}
		p.send(u, words[p.rand.IntN(len(words))], ref)
	case n < 86: // in one breath, without ids
		for _, a := range []signaling.Action{signaling.ActionCancel, signaling.ActionCall, signaling.ActionCancel, signaling.ActionCall} {
			p.send(u, a, signaling.RTC{TargetUser: p.pick().name})
		}
	case n < 92:
		u.client.drop()
		u.client = nil
	default:
		p.upset()
	}
	p.pause()
}

// talk brings two to where media flows, if nothing comes between.
func (p *player) talk(from, to *user) {
	p.send(from, signaling.ActionCall, signaling.RTC{TargetUser: to.name})
	p.pauseShortly()
	if to.client == nil {
		return
	}
	p.learn(to)
	ref := to.ref
	p.send(to, signaling.ActionAnswer, ref)
	p.pauseShortly()
	ref.SDP = sdpOffer
	p.send(from, signaling.ActionOffer, ref)
	p.pauseShortly()
	p.send(to, signaling.ActionOffer, ref)
}

func (p *player) pauseShortly() { time.Sleep(time.Duration(p.rand.IntN(100)) * time.Millisecond) }

func (p *player) send(u *user, a signaling.Action, data signaling.RTC) {
	p.sent++
	u.client.sendID(fmt.Sprint("r", p.sent), signaling.TypeRTC, a, data)
}

// learn takes the ids of the latest call that the user has heard of.
func (p *player) learn(u *user) {
	u.client.mu.Lock()
	defer u.client.mu.Unlock()
	for _, f := range slices.Backward(u.client.frames) {
		var d signaling.RTC
		if f.Into(&d) == nil && (d.CallID != "" || u.plain && d.RoomID != "") {
			u.ref = signaling.RTC{CallID: d.CallID, RoomID: d.RoomID}
			return
		}
	}
}

// comeBack resumes the session, or begins a new one if it is gone.
func (p *player) comeBack(u *user) {
	if u.plain {
		p.connect(u)
		return
	}
	old := u.all[len(u.all)-1]
	c := p.w.dial(u.name, nil)
	old.mu.Lock()
	c.lastSeq = old.lastSeq
	old.mu.Unlock()
	synctest.Wait()
	h := signaling.Hello{Resume: u.token, LastSeq: c.lastSeq, Token: token(p.w.t, u.name)}
	welcome := c.helloAfter(h)
	u.client, u.token, u.all = c, welcome.ResumeToken, append(u.all, c)
}

// helloAfter is hello on a connection that expects the pushes after h.LastSeq,
// or from the first if the session is a new one.
func (c *client) helloAfter(h signaling.Hello) signaling.Welcome {
	c.mu.Lock()
	c.fresh = true
	c.mu.Unlock()
	return c.hello(h)
}

// upset changes what the media server does.
func (p *player) upset() {
	ops := []string{"create pipeline", "create endpoint", "connect", "process offer", "gather", "add candidate", "release endpoint", "release pipeline"}
	op := ops[p.rand.IntN(len(ops))]
	p.w.media.set(func(m *fakeMedia) {
		clear(m.fail)
		clear(m.hang)
		clear(m.delay)
		m.noDTLS = 0
		switch p.rand.IntN(6) {
		case 0:
			m.fail[op] = errors.New("broken")
		case 1:
			m.fail[op] = server.ErrSDPRefused
		case 2:
			m.hang[op] = true
		case 3:
			m.noDTLS = p.rand.IntN(6)
		default:
			m.delay[op] = time.Duration(p.rand.IntN(3000)) * time.Millisecond
		}
	})
}

func (p *player) pause() {
	switch p.rand.IntN(10) {
	case 0, 1, 2:
	case 3:
		time.Sleep(time.Duration(p.rand.IntN(20)) * time.Second)
	default:
		time.Sleep(time.Duration(p.rand.IntN(2000)) * time.Millisecond)
	}
}

// calmDown heals everything, waits until all calls must be over or stable, and
// checks what was promised.
func (p *player) calmDown(t *testing.T) {
	p.w.media.set(func(m *fakeMedia) { clear(m.fail); clear(m.hang); clear(m.delay); m.noDTLS = 0 })
	time.Sleep(time.Minute)
	for _, u := range p.users {
		if u.client == nil {
			p.comeBack(u)
		}
		u.client.sendRaw(`{"type":"rtc","action":"leave"}`)
	}
	time.Sleep(5 * time.Minute)
	for _, u := range p.users {
		ends := make(map[string]int)
		for _, c := range u.all {
			kind := "rtc/ended"
			if u.plain {
				kind = "rtc/leave"
			}
			for _, f := range c.got(kind) {
				var d signaling.RTC
				if err := f.Into(&d); err != nil {
					t.Error(err)
				}
				ends[d.RoomID]++
			}
		}
		logs := make(map[string]map[string]bool) // a message comes again in a session that follows, with the same id
		for _, c := range u.all {
			for _, f := range c.got("message") {
				var m signaling.Message
				if err := f.Into(&m); err != nil {
					t.Error(err)
				}
				if m.Call != nil {
					if logs[m.Call.CallID] == nil {
						logs[m.Call.CallID] = make(map[string]bool)
					}
					logs[m.Call.CallID][m.MessageID] = true
				}
			}
		}
		for id, messages := range logs {
			if len(messages) > 1 {
				t.Errorf("%s read in %d messages what became of %s", u.name, len(messages), id)
			}
		}
		for id, n := range ends {
			if n > 1 {
				t.Errorf("%s was told %d times that %s is over", u.name, n, id)
			}
		}
	}
	if keys := p.w.state.Keys(); len(slices.DeleteFunc(keys, isPresence)) != 4 {
		t.Errorf("State has %q, want the four sessions", keys)
	}
	if left := p.w.media.left(); len(left) != 0 {
		t.Errorf("left on the media server: %q", left)
	}
	begun := len(p.w.eventLines("call.start"))
	if over := strings.Count(p.w.logs.String(), " to=ended"); over != begun {
		t.Errorf("%d of %d calls have ended", over, begun)
	}
	alice, bob := p.users["alice"].client, p.users["bob"].client
	ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
	bob.rtc(signaling.ActionAnswer, ref)
	offer(alice, ref)
	offer(bob, ref)
	alice.rtc(signaling.ActionLeave, ref)
	bob.rtc(signaling.ActionLeave, ref)
}
