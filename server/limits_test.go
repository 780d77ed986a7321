package server_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

func limited(l server.Limits) func(*server.Config) { return func(c *server.Config) { c.Limits = l } }

// saysLimit checks that a frame is limit_exceeded and names the limit.
func saysLimit(t *testing.T, c *client, f signaling.Frame, what string) {
	t.Helper()
	c.isError(signaling.CodeLimitExceeded, f)
	if !strings.Contains(string(f.Data), what) {
		t.Errorf("the message does not say which limit: %s", f.Data)
	}
}

func TestFramesPerSecond(t *testing.T) {
	bubble(t, limited(server.Limits{FramesPerSecond: 10, FrameBurst: 20}), func(t *testing.T, w *world) {
		alice := w.join("alice")
		ask := func() signaling.Frame {
			f, ok := alice.answer(alice.send(signaling.TypeState, "", signaling.State{UserID: "alice"}))
			if !ok {
				t.Fatal("no answer")
			}
			return f
		}
		for range 20 {
			if f := ask(); f.Type != signaling.TypeAck {
				t.Fatalf("within the burst: %s", f.Data)
			}
		}
		saysLimit(t, alice, ask(), "10 frames a second")
		time.Sleep(time.Second)
		for range 10 {
			if f := ask(); f.Type != signaling.TypeAck {
				t.Fatalf("a second later: %s", f.Data)
			}
		}
		saysLimit(t, alice, ask(), "10 frames a second")
		for range 20 { // frames that are no JSON count as well
			alice.sendRaw("x")
		}
		if code := alice.closeCode(); code != 4430 {
			t.Errorf("a flood is closed with %d", code)
		}
		counts(t, w, `callbench_limits_reached_total{limit="frames_per_second"} 22`)
	})
}

func TestMessagesAndCallsPerMinute(t *testing.T) {
	bubble(t, limited(server.Limits{MessagesPerMinute: 6, CallsPerMinute: 2}), func(t *testing.T, w *world) {
		alice, other, bob := w.join("alice"), w.join("alice"), w.join("bob")
		send := func(c *client) signaling.Frame {
			return c.request(signaling.TypeMessage, "", signaling.Message{To: "bob", Content: "hi"})
		}
		for i := range 6 { // a user's devices share
			if f := send([]*client{alice, other}[i%2]); f.Type != signaling.TypeAck {
				t.Fatalf("message %d: %s", i, f.Data)
			}
		}
		saysLimit(t, alice, send(alice), "6 messages")
		if f := bob.request(signaling.TypeMessage, "", signaling.Message{To: "alice", Content: "hi"}); f.Type != signaling.TypeAck {
			t.Errorf("bob may not answer: %s", f.Data)
		}
		time.Sleep(10 * time.Second)
		if f := send(alice); f.Type != signaling.TypeAck {
			t.Errorf("10 s later: %s", f.Data)
		}
		for range 2 {
			ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
			alice.rtc(signaling.ActionCancel, ref)
			bob.rtc(signaling.ActionLeave, ref)
		}
		saysLimit(t, alice, alice.request(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"}), "2 calls")
		counts(t, w, `callbench_limits_reached_total{limit="messages_per_minute"} 1`, `callbench_limits_reached_total{limit="calls_per_minute"} 1`)
	})
}

func TestRooms(t *testing.T) {
	bubble(t, limited(server.Limits{Rooms: 1}), func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		carol := w.join("carol")
		saysLimit(t, carol, carol.request(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "alice"}), "1 rooms")
		saysLimit(t, carol, carol.request(signaling.TypeRTC, signaling.ActionJoin, signaling.RTC{RoomID: "r", RoomType: "mcu"}), "1 rooms")
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
		call := carol.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "alice"})
		carol.rtc(signaling.ActionCancel, call)
	})
}

// A user may have made so many rooms at a time, whoever is in them. Rooms of others,
// and coming into rooms that there are, are not counted.
func TestRoomsPerUser(t *testing.T) {
	bubble(t, limited(server.Limits{RoomsPerUser: 2}), func(t *testing.T, w *world) {
		alice := w.join("alice")
		room := func(id string) signaling.RTC { return signaling.RTC{RoomID: id, RoomType: "mcu"} }
		var guests []*client
		for i := range 2 {
			guest := w.join(fmt.Sprintf("guest%d", i))
			guests = append(guests, guest)
			alice.rtc(signaling.ActionJoin, room(fmt.Sprint("r", i)))
			guest.rtc(signaling.ActionJoin, room(fmt.Sprint("r", i)))
			alice.rtc(signaling.ActionLeave, signaling.RTC{RoomID: fmt.Sprint("r", i)})
		}
		saysLimit(t, alice, alice.request(signaling.TypeRTC, signaling.ActionJoin, room("r2")), "2 rooms that one user")
		w.join("bob").rtc(signaling.ActionJoin, room("r2"))
		alice.rtc(signaling.ActionJoin, room("r2"))
		alice.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "r2"})
		guests[0].rtc(signaling.ActionLeave, signaling.RTC{RoomID: "r0"})
		alice.rtc(signaling.ActionJoin, room("r3"))
		counts(t, w, `callbench_limits_reached_total{limit="rooms_per_user"} 1`)
	})
}

// A recording costs a file and a recorder: who starts and stops them all the time is
// refused, and others are not.
func TestRecordingsPerMinute(t *testing.T) {
	tune := func(c *server.Config) { records(c); c.Limits.RecordingsPerMinute = 2 }
	bubble(t, tune, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		record := func(c *client, what string) signaling.Frame {
			in := ref
			in.Recording = what
			return c.request(signaling.TypeRTC, signaling.ActionRecord, in)
		}
		for range 2 {
			for _, what := range []string{signaling.RecordStart, signaling.RecordStop} {
				if f := record(alice, what); f.Type != signaling.TypeAck {
					t.Fatalf("%s: %s", what, f.Data)
				}
				synctest.Wait()
			}
		}
		saysLimit(t, alice, record(alice, signaling.RecordStart), "2 recordings")
		if f := record(bob, signaling.RecordStart); f.Type != signaling.TypeAck {
			t.Errorf("bob may not: %s", f.Data)
		}
		synctest.Wait()
		record(bob, signaling.RecordStop)
		time.Sleep(30 * time.Second)
		if f := record(alice, signaling.RecordStart); f.Type != signaling.TypeAck {
			t.Errorf("half a minute later: %s", f.Data)
		}
		counts(t, w, `callbench_limits_reached_total{limit="recordings_per_minute"} 1`)
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
	})
}

func TestSessionsPerUser(t *testing.T) {
	bubble(t, limited(server.Limits{SessionsPerUser: 3, ConnectionsPerUser: 2}), func(t *testing.T, w *world) {
		enter := func(device string) (*client, signaling.Frame) {
			c := w.dial("alice", nil)
			return c, c.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Token: token(t, "alice"), Device: device})
		}
		enter("phone")
		laptop, _ := enter("laptop")
		third, f := enter("tablet")
		saysLimit(t, third, f, "2 connections of one user")
		if code := third.closeCode(); code != 4430 {
			t.Errorf("closed with %d", code)
		}
		if _, f := enter("phone"); f.Type != signaling.TypeWelcome {
			t.Errorf("the phone may not come back: %s", f.Data)
		}
		laptop.drop() // detached, and the oldest
		tablet, _ := enter("tablet")
		tablet.drop()
		if _, f = enter("watch"); f.Type != signaling.TypeWelcome {
			t.Errorf("the fourth: %s", f.Data)
		}
		ended := w.eventLines("session.end")
		if !contains(ended, "cause=crowded") {
			t.Errorf("the oldest detached session did not give way:\n%s", strings.Join(ended, ""))
		}
		counts(t, w, `callbench_sessions{attached="true"} 2`, `callbench_sessions{attached="false"} 1`)
	})
	bubble(t, limited(server.Limits{SessionsPerUser: 2}), func(t *testing.T, w *world) {
		w.join("alice")
		w.join("alice")
		c := w.dial("alice", nil)
		saysLimit(t, c, c.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Token: token(t, "alice")}), "2 sessions of one user")
		if w.join("bob") == nil {
			t.Error("bob is refused")
		}
	})
}

// Clients of one address, an IPv6 network being one, and those that a trusted
// proxy speaks for are counted together.
func TestConnectionsPerAddress(t *testing.T) {
	tune := func(c *server.Config) {
		c.Limits = server.Limits{ConnectionsPerAddress: 2}
		c.TrustedProxies = prefixes("10.0.0.0/8")
	}
	bubble(t, tune, func(t *testing.T, w *world) {
		via := func(hops string) *client { return w.dial("c", http.Header{"X-Forwarded-For": {hops}}) }
		refused := func(hops string) bool {
			resp := w.try(http.Header{"X-Forwarded-For": {hops}})
			return resp != nil && resp.StatusCode == http.StatusTooManyRequests
		}
		first := via("192.0.2.1")
		via("198.51.100.7, 192.0.2.1, 10.1.1.1") // what a client claims, what the proxies add
		if !refused("192.0.2.1") {
			t.Error("a third connection of an address is taken")
		}
		via("2001:db8::1")
		via("2001:db8::2")
		if !refused("2001:db8::3") {
			t.Error("a third connection of an IPv6 network is taken")
		}
		via("2001:db8:0:1::3")
		first.drop()
		if refused("192.0.2.1") {
			t.Error("one that left is counted still")
		}
		counts(t, w, `callbench_limits_reached_total{limit="connections_per_address"} 2`)
	})
}

// Nobody but a trusted proxy is believed.
func TestForwardedForIsNotBelieved(t *testing.T) {
	bubble(t, limited(server.Limits{ConnectionsPerAddress: 1}), func(t *testing.T, w *world) {
		w.dial("a", http.Header{"X-Forwarded-For": {"192.0.2.1"}})
		w.dial("b", http.Header{"X-Forwarded-For": {"192.0.2.1"}})
		synctest.Wait()
		if !contains(w.eventLines("conn.open"), "client=10.0.0.1") {
			t.Error("the log has another address")
		}
	})
}

// Bad tokens from one address are answered later and later; good ones are not,
// and nor are bad ones from elsewhere. A minute forgives one.
func TestBadTokensAreDelayed(t *testing.T) {
	proxied := func(c *server.Config) { c.TrustedProxies = prefixes("10.0.0.0/8") }
	bubble(t, proxied, func(t *testing.T, w *world) {
		took := func(ip, token string, inHeader bool) time.Duration {
			header := http.Header{"X-Forwarded-For": {ip}}
			if inHeader {
				header.Set("Authorization", "Bearer "+token)
			}
			begin := time.Now()
			c := w.dial("alice", header)
			c.sendID("1", signaling.TypeHello, "", signaling.Hello{Version: 1, Token: map[bool]string{false: token}[inHeader]})
			for len(c.got("error"))+len(c.got("welcome")) == 0 {
				time.Sleep(50 * time.Millisecond)
			}
			return time.Since(begin).Round(50 * time.Millisecond)
		}
		want := []time.Duration{0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25000, 25000}
		for i, ms := range want {
			if d := took(fmt.Sprintf("2001:db8::%d", i), "guess", i%2 == 0); d != ms*time.Millisecond {
				t.Errorf("bad token %d was answered after %v, want %d ms", i+1, d, ms)
			}
		}
		if d := took("2001:db8::1", token(t, "alice"), false); d != 0 {
			t.Errorf("a good one was delayed by %v", d)
		}
		if d := took("2001:db8:0:1::1", "guess", false); d != 0 {
			t.Errorf("one from elsewhere was delayed by %v", d)
		}
		time.Sleep(5 * time.Minute)
		if d := took("2001:db8::1", "guess", false); d < 500*time.Millisecond || d > 2*time.Second {
			t.Errorf("five minutes later one was delayed by %v", d)
		}
		time.Sleep(time.Hour)
		if d := took("2001:db8::1", "guess", false); d != 0 {
			t.Errorf("an hour later one was delayed by %v", d)
		}
	})
}

// A session that shows a bad token goes on meanwhile.
func TestBadRefreshIsDelayed(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		alice.isError(signaling.CodeUnauthorized, alice.request(signaling.TypeToken, "", signaling.Token{Token: "guess"}))
		id := alice.send(signaling.TypeToken, "", signaling.Token{Token: "guess"})
		if f := alice.request(signaling.TypeState, "", signaling.State{UserID: "alice"}); f.Type != signaling.TypeAck {
			t.Errorf("%s", f.Data)
		}
		if _, ok := alice.answer(id); ok {
			t.Error("the second was answered at once")
		}
		time.Sleep(100 * time.Millisecond)
		if f, ok := alice.answer(id); !ok {
			t.Error("the second was not answered")
		} else {
			alice.isError(signaling.CodeUnauthorized, f)
		}
	})
}

// Closing waits for nobody's delay.
func TestCloseDuringADelay(t *testing.T) {
	proxied := func(c *server.Config) { c.TrustedProxies = prefixes("10.0.0.0/8") }
	bubble(t, proxied, func(t *testing.T, w *world) {
		for range 12 {
			header := bearer("guess")
			header.Set("X-Forwarded-For", "192.0.2.1")
			w.dial("mallory", header).lose()
		}
		synctest.Wait()
		begin := time.Now()
		w.close()
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("closing took %v", d)
		}
	})
}

func TestOrigins(t *testing.T) {
	check, err := server.Origins("https://app.example.com", "https://*.example.org", "http://localhost:3000")
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]bool{
		"": true, "https://app.example.com": true, "HTTPS://APP.example.com": true, "https://a.example.org": true, "https://a.b.example.org": true,
		"http://localhost:3000": true, "https://calls.example.net": true, // the server's own host
		"http://app.example.com": false, "https://app.example.com.evil.net": false, "https://example.org": false, "https://evilexample.org": false,
		"http://localhost": false, "null": false, "https://app.example.com:8443": false, "://": false,
	} {
		r, err := http.NewRequest("GET", "https://calls.example.net/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Origin": {origin}}
		if got := check(r); got != want {
			t.Errorf("origin %q: %v, want %v", origin, got, want)
		}
	}
	for _, bad := range []string{"*", "https://*", "https://*.*.com", "app.example.com", "https://app.example.com/", ""} {
		if _, err := server.Origins(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

// try dials and returns what a refused handshake was answered.
func (w *world) try(header http.Header) *http.Response {
	link := netsim.NewLink(netsim.LinkConfig{})
	w.streams.AddHost("somebody", netip.AddrFrom4([4]byte{10, 2, 0, 1}), link)
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return w.streams.Dial(ctx, link, "server:80")
	}}
	ws, resp, err := d.Dial("ws://server/ws", header)
	if err == nil {
		_ = ws.Close()
		return nil
	}
	return resp
}
