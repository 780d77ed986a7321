package server_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/signaling"
)

// TestTokenRunsOutAsTheSessionResumes lets a hello arrive in the instant in which the
// session's token runs out, and around it: with a newer token the session goes on
// and stays; without one it is refused or closed for the token, and nothing is lost
// of it.
func TestTokenRunsOutAsTheSessionResumes(t *testing.T) {
	for _, off := range []time.Duration{-time.Nanosecond, 0, time.Nanosecond} {
		for _, dropped := range []bool{false, true} {
			for _, newer := range []bool{false, true} {
				for range 3 {
					bubble(t, nil, func(t *testing.T, w *world) {
						alice := w.join("alice")
						bob, welcome := w.enterFor("bob", time.Minute)
						ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
						bob.rtc(signaling.ActionAnswer, ref)
						ends := time.Now().Add(time.Minute)
						time.Sleep(30 * time.Second)
						if dropped {
							bob.drop()
						}
						time.Sleep(time.Until(ends.Add(off - time.Second)))
						again := w.dial("bob", nil)
						again.lastSeq = bob.lastSeq
						hello := signaling.Hello{Version: 1, Resume: welcome.ResumeToken, LastSeq: bob.lastSeq}
						if newer {
							hello.Token = tokenFor(t, "bob", time.Hour)
						}
						time.Sleep(time.Until(ends.Add(off)))
						again.sendID("again", signaling.TypeHello, "", hello)
						f, _ := again.answer("again")
						var back signaling.Welcome
						if f.Type == signaling.TypeWelcome && f.Into(&back) == nil && !back.Resumed {
							t.Fatalf("a new session began: %s", f.Data)
						}
						time.Sleep(10 * time.Second)
						if newer {
							if f.Type != signaling.TypeWelcome || len(again.got("error")) != 0 {
								t.Fatalf("with a newer token: %s %s", f.Kind(), f.Data)
							}
							again.rtc(signaling.ActionLeave, ref)
							return
						}
						if f.Type == signaling.TypeWelcome {
							if code := again.closeCode(); code != 4410 {
								t.Errorf("closed with %d", code)
							}
							welcome.ResumeToken = back.ResumeToken
						}
						last := w.dial("bob", nil)
						last.lastSeq = max(bob.lastSeq, again.lastSeq)
						if got := last.hello(signaling.Hello{Resume: welcome.ResumeToken, LastSeq: last.lastSeq, Token: tokenFor(t, "bob", time.Hour)}); !got.Resumed || got.Call == nil {
							t.Errorf("at %v the session was lost: %+v", off, got)
						}
						if n := len(alice.got("rtc/ended")); n != 0 {
							t.Errorf("the call has ended for alice")
						}
					})
				}
			}
		}
	}
}

// TestReceiptsRaceReplay pushes all the time to a client that says at any time what
// it has, and is cut off and resumes at any time. It gets everything once and in
// order, and every push counts as received once and in order.
func TestReceiptsRaceReplay(t *testing.T) {
	for seed := range 20 {
		bubble(t, nil, func(t *testing.T, w *world) {
			dice := rand.New(rand.NewPCG(uint64(seed), 2))
			bob, welcome := w.enter("bob")
			var texts []string
			pushed := make(chan struct{})
			go func() {
				defer close(pushed)
				for n := range 400 {
					w.srv.PushThen("bob", fmt.Sprint(n), func() { w.journal.add("bob has %d", n) })
					if n%7 == 0 {
						time.Sleep(10 * time.Millisecond)
					}
				}
			}()
			took := func(c *client) {
				c.mu.Lock()
				defer c.mu.Unlock()
				for _, f := range c.frames {
					var m signaling.Message
					if f.Type == signaling.TypeMessage && f.Into(&m) == nil {
						texts = append(texts, m.Content)
					}
				}
			}
			for range 60 {
				time.Sleep(time.Duration(dice.IntN(15)) * time.Millisecond)
				switch dice.IntN(4) {
				case 0:
					bob.lose()
					synctest.Wait()        // it has read all that had come by then
					if dice.IntN(2) == 0 { // what it says now is lost
						bob.receives()
					}
					var back signaling.Welcome
					old := bob
					if bob, back = w.rejoin(old, welcome.ResumeToken); !back.Resumed {
						t.Fatal("the session was lost")
					}
					took(old)
					welcome = back
				case 1: // says so and comes back on another connection in the same instant
					bob.receives()
					old := bob
					var back signaling.Welcome
					if bob, back = w.rejoin(old, welcome.ResumeToken); !back.Resumed {
						t.Fatal("the session was lost")
					}
					<-old.ended
					old.mu.Lock() // what it has read while the new one was opened comes again there: a client goes by the numbers
					old.frames = slices.DeleteFunc(old.frames, func(f signaling.Frame) bool { return f.Seq > 0 && f.Seq >= firstSeq(bob) })
					old.mu.Unlock()
					took(old)
					welcome = back
				default:
					bob.receives()
				}
			}
			<-pushed
			synctest.Wait()
			took(bob)
			bob.receives()
			synctest.Wait()
			var want, has []string
			for n := range 400 {
				want, has = append(want, fmt.Sprint(n)), append(has, fmt.Sprintf("bob has %d", n))
			}
			if !slices.Equal(texts, want) {
				t.Errorf("seed %d: bob got %d messages: %q", seed, len(texts), texts)
			}
			got := slices.DeleteFunc(w.journal.list(), func(l string) bool { return len(l) < 7 || l[:7] != "bob has" })
			if !slices.Equal(got, has) {
				t.Errorf("seed %d: %d pushes count as received: %q", seed, len(got), got)
			}
		})
	}
}

// firstSeq is the number of the first push on a connection; none has it if there
// was no push.
func firstSeq(c *client) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if f.Seq > 0 {
			return f.Seq
		}
	}
	return ^uint64(0)
}
