package server

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/signaling"
)

// TestDevicesRace lets the devices of a callee, its caller, and devices that come
// and go do what they like at the same time, on as many goroutines. Nobody is left
// in a call, and no call is left.
func TestDevicesRace(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	words := []string{"answer", "answer", "ringing", "reject", "busy", "leave"}
	for round := range rounds {
		synctest.Test(t, func(t *testing.T) {
			s, err := New(Config{Auth: JWT(), Media: &still{}, State: forgetful{}, History: forgetful{}, ConfirmTimeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			alice := seat(t, s, "alice")
			bob := []*session{seat(t, s, "bob"), seat(t, s, "bob"), seat(t, s, "bob")}
			feed(t, alice, `{"type":"rtc","action":"call","targetUser":"bob"}`)
			if round%3 != 0 { // else while it is dialed
				synctest.Wait()
			}
			all := append([]*session{alice}, bob...)
			var (
				mu   sync.Mutex
				wait sync.WaitGroup
			)
			for i, u := range bob {
				word := words[(round+i*(1+round/6))%len(words)]
				wait.Go(func() {
					for range round % 4 * i {
						runtime.Gosched()
					}
					feed(t, u, fmt.Sprintf(`{"type":"rtc","action":%q}`, word))
				})
			}
			wait.Go(func() {
				if round%2 == 0 {
					feed(t, alice, `{"type":"rtc","action":"cancel"}`)
				}
			})
			wait.Go(func() {
				if round%5 == 0 {
					bob[2].end(causeReplaced)
				}
			})
			wait.Go(func() {
				late := seat(t, s, "bob")
				mu.Lock()
				all = append(all, late)
				mu.Unlock()
			})
			wait.Wait()
			synctest.Wait()
			agreeOnTheWinner(t, s, alice, all)
			for _, u := range all {
				feed(t, u, `{"type":"rtc","action":"leave"}`)
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			checkNobodyIsInACall(t, s, all)
			s.Close()
		})
	}
}

// agreeOnTheWinner holds the directory against the call: bob is in it by the
// device that has answered, or by those that ring, or not at all.
func agreeOnTheWinner(t *testing.T, s *Server, alice *session, all []*session) {
	t.Helper()
	s.users.mu.Lock()
	in := s.users.in["bob"]
	s.users.mu.Unlock()
	if in != alice.room.Load() {
		t.Errorf("alice is in %p, bob in %p", alice.room.Load(), in)
	}
	var by []*session
	for _, u := range all[1:] {
		if u.room.Load() != nil {
			by = append(by, u)
		}
	}
	if in == nil {
		if len(by) > 0 {
			t.Errorf("bob is in no call, and %d of his devices are", len(by))
		}
		return
	}
	c := in.host.(*call)
	if c.at() == stateActive && (len(by) != 1 || by[0] != c.callee.session) {
		t.Errorf("bob has answered on one device, and is in the call on %d", len(by))
	}
}

func checkNobodyIsInACall(t *testing.T, s *Server, all []*session) {
	t.Helper()
	s.users.mu.Lock()
	defer s.users.mu.Unlock()
	if len(s.users.in) > 0 || len(s.users.rooms) > 0 {
		t.Errorf("%d users are in %d rooms", len(s.users.in), len(s.users.rooms))
	}
	for _, u := range all {
		if u.room.Load() != nil || len(u.ending) > 0 {
			t.Errorf("a session of %s is in a call, or has %d to confirm", u.user, len(u.ending))
		}
	}
}

// TestGlareRace lets all devices of two users call the other one at the same time:
// one call is made.
func TestGlareRace(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			s, err := New(Config{Auth: JWT(), Media: &still{}, State: forgetful{}, History: forgetful{}})
			if err != nil {
				t.Fatal(err)
			}
			var wait sync.WaitGroup
			for range 3 {
				for _, pair := range [][2]string{{"alice", "bob"}, {"bob", "alice"}} {
					u := seat(t, s, pair[0])
					wait.Go(func() { feed(t, u, fmt.Sprintf(`{"type":"rtc","action":"call","targetUser":%q}`, pair[1])) })
				}
			}
			wait.Wait()
			synctest.Wait()
			_, rooms := s.users.everybody()
			if len(rooms) != 1 || rooms[0].host.(*call).at() != stateRinging {
				t.Errorf("%d calls were made", len(rooms))
			}
			s.users.mu.Lock()
			if s.users.in["alice"] != rooms[0] || s.users.in["bob"] != rooms[0] {
				t.Error("the two are not in the same call")
			}
			s.users.mu.Unlock()
			s.Close()
		})
	}
}

// TestLeaverBeatsTheAnswer leaves a call on one device after another one's answer
// was read and before it was done: the leave was quicker, and the answer is
// refused.
func TestLeaverBeatsTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{Auth: JWT(), Media: &still{}, State: forgetful{}, History: forgetful{}})
		if err != nil {
			t.Fatal(err)
		}
		alice, phone, laptop := seat(t, s, "alice"), seat(t, s, "bob"), seat(t, s, "bob")
		feed(t, alice, `{"type":"rtc","action":"call","targetUser":"bob"}`)
		synctest.Wait()
		c := alice.room.Load().host.(*call)
		hold := make(chan struct{})
		c.queue.Do(func() { <-hold })
		feed(t, phone, `{"type":"rtc","action":"answer"}`)
		feed(t, laptop, `{"type":"rtc","action":"leave"}`)
		close(hold)
		synctest.Wait()
		if c.callee != nil || c.reason != signaling.ReasonDeclined {
			t.Errorf("the call is %s with %q", c.at(), c.reason)
		}
		s.Close()
	})
}
