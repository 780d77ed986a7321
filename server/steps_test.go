package server_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// redisBubble is a bubble whose State is a Redis, in memory and on the real wire.
func redisBubble(t *testing.T, test func(t *testing.T, w *world, redis *miniredis.Miniredis)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		mini := miniredis.NewMiniRedis()
		mini.ClockTTL(true)
		client := store.NewRedis(store.RedisConfig{Dial: func(context.Context, string, string) (net.Conn, error) { return mini.Dial() }})
		w := newWorld(t, func(c *server.Config) {
			s := c.State.(journaledState)
			s.State = client
			c.State = s
		})
		test(t, w, mini)
		w.close()
		if keys := slices.DeleteFunc(mini.Keys(), isPresence); len(keys) > 0 {
			t.Errorf("left in Redis: %q", keys)
		}
		if left := w.media.left(); len(left) > 0 {
			t.Errorf("left on the media server: %q", left)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		mini.Close()
	})
}

// step is one or more steps of the design document: what is done, what the
// media server, State and History are asked for in answer, what the clients
// get, and what Redis has then.
type step struct {
	numbers string
	do      func()
	asked   []string // kms, state and history
	told    []string // the clients', sorted
	redis   map[string]string
}

// designed tells the keys of rooms and legs that the design document has.
func designed(key string) bool {
	return strings.HasPrefix(key, "rtc:session:") || strings.HasSuffix(key, ":members") || strings.HasSuffix(key, ":state")
}

// redisLook is what Redis has of rooms and legs: one line per hash, times as *
// and SDPs by their names.
func redisLook(t *testing.T, mini *miniredis.Miniredis) map[string]string {
	t.Helper()
	look := make(map[string]string)
	for _, key := range mini.Keys() {
		if !designed(key) {
			continue
		}
		fields, err := mini.HKeys(key)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range fields {
			v := mini.HGet(key, f)
			switch {
			case strings.HasSuffix(f, "Time"):
				v = "*"
			case f == "sdpOffer" && strings.Contains(v, "VP8"):
				v = "offer"
			}
			out = append(out, f+"="+v)
		}
		look[strings.TrimPrefix(key, "rtc:")] = strings.Join(out, " ")
		if ttl := mini.TTL(key); strings.HasPrefix(key, "rtc:session:") && ttl != 3600*time.Second {
			t.Errorf("%s lives for %v", key, ttl)
		}
	}
	return look
}

// play does the step and compares.
func (s step) play(t *testing.T, w *world, mini *miniredis.Miniredis) {
	t.Helper()
	before := len(w.journal.list())
	s.do()
	synctest.Wait()
	var asked, told []string
	for _, l := range w.journal.list()[before:] {
		switch {
		case strings.Contains(l, "<- "):
			told = append(told, l)
		case !strings.Contains(l, "-> "):
			asked = append(asked, strings.TrimSpace(l))
		}
	}
	slices.Sort(told)
	if !slices.Equal(asked, s.asked) {
		t.Errorf("step %s: asked\n%q, want\n%q", s.numbers, asked, s.asked)
	}
	if !slices.Equal(told, s.told) {
		t.Errorf("step %s: told\n%q, want\n%q", s.numbers, told, s.told)
	}
	if got := redisLook(t, mini); !maps.Equal(got, s.redis) {
		t.Errorf("step %s: Redis has\n%q, want\n%q", s.numbers, got, s.redis)
	}
}

// TestThe34Steps plays the design document's 1v1 call, and looks at the media
// server and at Redis after each step.
func TestThe34Steps(t *testing.T) {
	const (
		room    = "room:room-alice-1:state"
		members = "room:room-alice-1:members"
		legA    = "session:session-alice-1"
		legB    = "session:session-bob-1"
		waiting = "createdTime=* mediaStarted=false recordingPath= roomType=1v1"
		started = "createdTime=* mediaStarted=true recordingPath= roomType=1v1"
		both    = "alice=publisher bob=publisher"
		newA    = "endpointId=p1.e1 roomId=room-alice-1 userId=alice"
		newB    = "endpointId=p1.e2 roomId=room-alice-1 userId=bob"
		hasA    = "connectedTime=* endpointId=p1.e1 roomId=room-alice-1 sdpAnswer=answer of p1.e1 sdpOffer=offer userId=alice"
		hasB    = "connectedTime=* endpointId=p1.e2 roomId=room-alice-1 sdpAnswer=answer of p1.e2 sdpOffer=offer userId=bob"
	)
	redisBubble(t, func(t *testing.T, w *world, mini *miniredis.Miniredis) {
		var alice, bob *client
		var ref signaling.RTC
		say := func(c **client, a signaling.Action, change func(*signaling.RTC)) func() {
			return func() {
				data := ref
				if change != nil {
					change(&data)
				}
				(*c).send(signaling.TypeRTC, a, data)
			}
		}
		offered := func(d *signaling.RTC) { d.SDP = sdpOffer }
		found := func(d *signaling.RTC) { d.Candidate = hostCandidate }
		gathered := func(name string) []string {
			return []string{name + "<- ack", name + "<- rtc/answer sdp", name + "<- rtc/candidate", name + "<- rtc/candidate"}
		}
		for _, s := range []step{
			{"1", func() { alice, bob = w.join("alice"), w.join("bob") }, nil, []string{"alice<- welcome", "bob<- welcome"}, nil},
			{"2-8", func() {
				alice.send(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
				synctest.Wait()
				ref = signaling.RTC{RoomID: "room-alice-1", CallID: "call-alice-1"}
			}, []string{"kms create pipeline", "kms create endpoint p1", "state open room by alice"}, []string{"alice<- ack", "bob<- rtc_invite"},
				map[string]string{room: waiting, members: "alice=publisher", legA: newA}},
			{"8, the device rings", say(&bob, signaling.ActionRinging, nil), nil, []string{"alice<- rtc/ringing of bob", "bob<- ack"},
				map[string]string{room: waiting, members: "alice=publisher", legA: newA}},
			{"9-14", say(&bob, signaling.ActionAnswer, nil), []string{"kms create endpoint p1", "kms connect p1.e2>p1.e1", "kms connect p1.e1>p1.e2", "state join bob"},
				[]string{"alice<- rtc/answer of bob", "bob<- ack"}, map[string]string{room: waiting, members: both, legA: newA, legB: newB}},
			{"15-18", say(&alice, signaling.ActionOffer, offered), []string{"kms process offer p1.e1", "kms gather p1.e1"}, gathered("alice"),
				map[string]string{room: started, members: both, legA: hasA, legB: newB}},
			{"19-20", say(&alice, signaling.ActionCandidate, found), []string{"kms add candidate p1.e1"}, []string{"alice<- ack"},
				map[string]string{room: started, members: both, legA: hasA, legB: newB}},
			{"21-23", say(&bob, signaling.ActionOffer, offered), []string{"kms process offer p1.e2", "kms gather p1.e2"}, gathered("bob"),
				map[string]string{room: started, members: both, legA: hasA, legB: hasB}},
			{"24-25", say(&bob, signaling.ActionCandidate, found), []string{"kms add candidate p1.e2"}, []string{"bob<- ack"},
				map[string]string{room: started, members: both, legA: hasA, legB: hasB}},
			{"26-30", say(&alice, signaling.ActionLeave, nil), []string{"kms release endpoint p1.e1", "state leave alice"},
				[]string{"alice<- ack", "alice<- message", "bob<- message", "bob<- rtc/ended hangup of alice"},
				map[string]string{room: started, members: "bob=publisher", legB: hasB}},
			{"31-34", say(&bob, signaling.ActionLeave, nil), []string{"kms release endpoint p1.e2", "kms release pipeline p1", "state leave bob", "history room ended hangup", "state close room"},
				[]string{"bob<- ack"}, nil},
		} {
			s.play(t, w, mini)
		}
		checkHistory(t, w, signaling.ReasonHangup, map[string]time.Duration{"alice": 0, "bob": 0})
	})
}

// TestLongCall talks for two hours: what Redis has of a call lives as long as the
// call does, though each record lives for one.
func TestLongCall(t *testing.T) {
	redisBubble(t, func(t *testing.T, w *world, mini *miniredis.Miniredis) {
		alice, bob, ref := connected(w)
		for range 8 {
			time.Sleep(15 * time.Minute)
			for _, user := range []string{"alice", "bob"} {
				key := fmt.Sprintf("rtc:session:session-%s-1", user)
				if left := mini.TTL(key); left < 59*time.Minute || mini.HGet(key, "connectedTime") == "" {
					t.Errorf("%s has %v left", key, left)
				}
			}
		}
		if keys := slices.DeleteFunc(mini.Keys(), isPresence); len(keys) != 10 {
			t.Errorf("Redis has %q", keys)
		}
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
		if got := callLogs(t, bob); len(got) != 1 || !strings.Contains(got[0], `"Call, 2:00:00"`) {
			t.Errorf("bob was told of %q", got)
		}
	})
}
