package store_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// place is where a State keeps its keys, as the suite looks at it. All ids that
// the suite uses begin with run.
type place struct {
	server.State
	run  string
	keys func() []string
	hash func(key string) (map[string]string, time.Duration)
	told func(user string) []string // what was published about a user so far
	more func() server.State        // another client of the same store
}

// suite is what every State must do. It sleeps nowhere.
var suite = map[string]func(*testing.T, place){
	"session":         testSession,
	"presence":        testPresence,
	"presence races":  testPresenceRaces,
	"room":            testRoom,
	"leg":             testLeg,
	"claims":          testClaims,
	"roles":           testRoles,
	"kept":            testKeepRoom,
	"mended":          testMendRoom,
	"snapshots":       testSnapshots,
	"glare":           testGlareRaces,
	"answers":         testAnswerRaces,
	"joins":           testJoinRaces,
	"everything goes": testNothingLeft,
}

func runSuite(t *testing.T, open func(t *testing.T) place) {
	for name, test := range suite {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// expect compares a key's fields, and its time to live to the second.
func (p place) expect(t *testing.T, key string, ttl time.Duration, fields map[string]string) {
	t.Helper()
	got, left := p.hash(key)
	if !maps.Equal(got, fields) {
		t.Errorf("%s is %q, want %q", key, got, fields)
	}
	if fields != nil && (left > ttl || left < ttl-time.Second) {
		t.Errorf("%s has %v left, want %v", key, left, ttl)
	}
}

var at = time.UnixMilli(1_700_000_000_123)

func (p place) session(user string) server.SessionRecord {
	return server.SessionRecord{SessionID: p.run + "s-" + user, UserID: p.run + user, ConnectedAt: at, HeartbeatAt: at.Add(time.Second), TTL: 150 * time.Second}
}

func (p place) member(user string) (server.MemberRecord, server.LegRecord) {
	m := server.MemberRecord{RoomID: p.run + "r", SessionID: p.run + "s-" + user, UserID: p.run + user, Role: server.RolePublisher}
	return m, server.LegRecord{SessionID: m.SessionID, UserID: m.UserID, RoomID: m.RoomID, EndpointID: "e-" + user}
}

func (p place) room() server.RoomSnapshot {
	return server.RoomSnapshot{RoomRecord: server.RoomRecord{RoomID: p.run + "r", Type: server.Room1v1, CreatedAt: at},
		Node: p.run + "n", Hold: 150 * time.Second}
}

// second is another room of the same node.
func (p place) second() server.RoomSnapshot {
	r := p.room()
	r.RoomID = p.run + "r2"
	return r
}

func testSession(t *testing.T, p place) {
	ctx := t.Context()
	r := p.session("alice")
	must(t, p.PutSession(ctx, r))
	p.expect(t, "ws:session:"+r.SessionID, 150*time.Second, map[string]string{
		"userId": r.UserID, "connectionTime": "1700000000123", "lastHeartbeat": "1700000001123", "device": "", "level": "0",
		"resumeToken": "", "resumeTokenBefore": "", "tokenExpires": "", "tokenId": "", "tokenIssued": "", "lastSeq": "0", "node": ""})
	r.HeartbeatAt, r.TTL = at.Add(time.Minute), 99*time.Second
	r.Device, r.Level, r.Secret, r.Before, r.Expires, r.Received = "phone", 1, "aa", "bb", at.Add(time.Hour), 17
	r.TokenID, r.Issued, r.Node = "jti", at, "n"
	must(t, p.PutSession(ctx, r))
	p.expect(t, "ws:session:"+r.SessionID, 99*time.Second, map[string]string{
		"userId": r.UserID, "connectionTime": "1700000000123", "lastHeartbeat": "1700000060123", "device": "phone", "level": "1",
		"resumeToken": "aa", "resumeTokenBefore": "bb", "tokenExpires": "1700003600123", "tokenId": "jti", "tokenIssued": "1700000000123", "lastSeq": "17", "node": "n"})
	got, ok, err := p.GetSession(ctx, r.SessionID)
	r.TTL = 0
	if err != nil || !ok || got != r {
		t.Errorf("read is %+v, %v, %v, want %+v", got, ok, err, r)
	}
	p.expect(t, "rtc:session:"+r.SessionID, 0, nil) // prolonging makes no record
	r.TTL, r.Known = time.Minute, true
	must(t, p.PutSession(ctx, r))
	must(t, p.DropSession(ctx, r.SessionID))
	must(t, p.DropSession(ctx, r.SessionID))
	if err := p.PutSession(ctx, r); !errors.Is(err, server.ErrStateLost) {
		t.Errorf("a record that was lost: %v", err)
	}
	must(t, p.PutSession(ctx, r))
	must(t, p.DropSession(ctx, r.SessionID))
	if _, ok, err := p.GetSession(ctx, r.SessionID); ok || err != nil {
		t.Errorf("a session that was dropped is there, %v", err)
	}
	p.expect(t, "ws:session:"+r.SessionID, 0, nil)
}

func testRoom(t *testing.T, p place) {
	ctx := t.Context()
	alice, legA := p.member("alice")
	bob, legB := p.member("bob")
	state, members := "rtc:room:"+alice.RoomID+":state", "rtc:room:"+alice.RoomID+":members"
	must(t, p.OpenRoom(ctx, p.room(), alice, legA))
	fields := map[string]string{"roomType": "1v1", "createdTime": "1700000000123", "mediaStarted": "false", "recordingPath": ""}
	p.expect(t, state, 0, fields)
	p.expect(t, members, 0, map[string]string{alice.UserID: "publisher"})
	p.expect(t, "rtc:session:"+alice.SessionID, server.LegTTL, map[string]string{"userId": alice.UserID, "roomId": alice.RoomID, "endpointId": "e-alice"})
	bob.Role = server.RoleSubscriber
	must(t, p.JoinRoom(ctx, p.room(), bob, legB))
	p.expect(t, members, 0, map[string]string{alice.UserID: "publisher", bob.UserID: "subscriber"})
	legB.ConnectedAt = at
	must(t, p.LegConnected(ctx, legB))
	must(t, p.PutRoomMedia(ctx, server.RoomMedia{RoomID: alice.RoomID, Started: true, RecordingPath: "file:///r/1.webm"}))
	fields["mediaStarted"], fields["recordingPath"] = "true", "file:///r/1.webm"
	p.expect(t, state, 0, fields)
	must(t, p.LeaveRoom(ctx, alice))
	p.expect(t, members, 0, map[string]string{bob.UserID: "subscriber"})
	p.expect(t, "rtc:session:"+alice.SessionID, 0, nil)
	must(t, p.LeaveRoom(ctx, bob))
	must(t, p.CloseRoom(ctx, p.room()))
	must(t, p.CloseRoom(ctx, p.room()))
	p.expect(t, state, 0, nil)
	p.expect(t, members, 0, nil)
}

func testLeg(t *testing.T, p place) {
	ctx := t.Context()
	alice, leg := p.member("alice")
	key := "rtc:session:" + alice.SessionID
	fields := map[string]string{"userId": leg.UserID, "roomId": leg.RoomID, "endpointId": "e-alice"}
	must(t, p.SaveLeg(ctx, leg))
	p.expect(t, key, server.LegTTL, fields)
	leg.SDPOffer, leg.SDPAnswer = "v=0\r\no", "v=0\r\na"
	must(t, p.SaveLeg(ctx, leg))
	fields["sdpOffer"], fields["sdpAnswer"] = leg.SDPOffer, leg.SDPAnswer
	p.expect(t, key, server.LegTTL, fields)
	leg.EndpointID, leg.SDPOffer, leg.ConnectedAt = "e-2", "", at // what is empty stays as it was
	must(t, p.LegConnected(ctx, leg))
	fields["endpointId"], fields["connectedTime"] = "e-2", "1700000000123"
	p.expect(t, key, server.LegTTL, fields)

	fresh := server.LegRecord{SessionID: leg.SessionID, UserID: leg.UserID, RoomID: leg.RoomID, EndpointID: "e-4", Fresh: true}
	must(t, p.SaveLeg(ctx, fresh)) // it was made anew
	p.expect(t, key, server.LegTTL, map[string]string{"userId": leg.UserID, "roomId": leg.RoomID, "endpointId": "e-4"})

	// A session that has left a room may be in the next before it is out.
	next := alice
	next.RoomID = p.run + "r2"
	first := server.LegRecord{SessionID: leg.SessionID, UserID: leg.UserID, RoomID: next.RoomID, EndpointID: "e-3"}
	must(t, p.OpenRoom(ctx, p.second(), next, first))
	must(t, p.LeaveRoom(ctx, alice))
	must(t, p.CloseRoom(ctx, p.room()))
	p.expect(t, key, server.LegTTL, map[string]string{"userId": leg.UserID, "roomId": next.RoomID, "endpointId": "e-3"})
	must(t, p.LeaveRoom(ctx, next))
	p.expect(t, key, 0, nil)
	must(t, p.CloseRoom(ctx, p.second()))
}

func testNothingLeft(t *testing.T, p place) {
	ctx := t.Context()
	alice, leg := p.member("alice")
	must(t, p.PutSession(ctx, p.session("alice")))
	must(t, p.OpenRoom(ctx, p.room(), alice, leg))
	if n := len(p.keys()); n != 7 {
		t.Errorf("%d keys, want 7: %q", n, p.keys())
	}
	must(t, p.LeaveRoom(ctx, alice))
	must(t, p.CloseRoom(ctx, p.room()))
	must(t, p.DropSession(ctx, alice.SessionID))
	if left := p.keys(); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// inRedis is a State in Redis, looked at through a client of the test's own.
func inRedis(t *testing.T, dial func(context.Context, string, string) (net.Conn, error), addr, run string) place {
	r := store.NewRedis(store.RedisConfig{Addr: addr, Dial: dial})
	look := redis.NewClient(&redis.Options{Addr: addr, Dialer: dial})
	heard := &presences{}
	var watching sync.WaitGroup
	t.Cleanup(func() {
		for _, k := range look.Keys(context.Background(), "user:*:presence").Val() {
			if strings.Contains(k, run) { // they would stay
				must(t, look.Del(context.Background(), k).Err())
			}
		}
		must(t, r.Close())
		must(t, look.Close())
		watching.Wait()
	})
	told := func(user string) []string {
		heard.mu.Lock()
		_, known := heard.told[user]
		heard.mu.Unlock()
		if !known {
			heard.add(user, "")
			sub := look.Subscribe(context.Background(), "user:"+user+":status")
			if _, err := sub.Receive(context.Background()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { sub.Close() })
			watching.Go(func() {
				for m, err := sub.ReceiveMessage(context.Background()); err == nil; m, err = sub.ReceiveMessage(context.Background()) {
					heard.add(user, m.Payload)
				}
			})
		}
		return heard.of(user)[1:]
	}
	more := func() server.State {
		other := store.NewRedis(store.RedisConfig{Addr: addr, Dial: dial})
		t.Cleanup(func() { must(t, other.Close()) })
		return other
	}
	return place{State: r, run: run, told: told, more: more,
		keys: func() (keys []string) {
			for _, k := range look.Keys(t.Context(), "*").Val() {
				if strings.Contains(k, run) {
					keys = append(keys, k)
				}
			}
			return keys
		},
		hash: func(key string) (map[string]string, time.Duration) {
			fields := look.HGetAll(t.Context(), key).Val()
			if len(fields) == 0 {
				return nil, 0
			}
			return fields, max(0, look.PTTL(t.Context(), key).Val())
		}}
}

func TestRedis(t *testing.T) {
	runSuite(t, func(t *testing.T) place {
		m := miniredis.RunT(t)
		return inRedis(t, nil, m.Addr(), "")
	})
}

// TestRedisInBubble is the virtual world's Redis: no socket, and time to live
// by the bubble's clock.
func TestRedisInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		m.ClockTTL(true)
		defer m.Close()
		r := store.NewRedis(store.RedisConfig{Dial: func(context.Context, string, string) (net.Conn, error) { return m.Dial() }})
		p := place{State: r}
		must(t, p.PutSession(t.Context(), p.session("alice")))
		time.Sleep(150*time.Second - time.Millisecond)
		if !m.Exists("ws:session:s-alice") {
			t.Error("the session's record is gone early")
		}
		time.Sleep(time.Millisecond)
		if m.Exists("ws:session:s-alice") {
			t.Error("the session's record is still there")
		}
		must(t, r.Close())
	})
}

// TestRoundTrips counts what each step costs on the wire.
func TestRoundTrips(t *testing.T) {
	m := miniredis.RunT(t)
	var writes int
	r := store.NewRedis(store.RedisConfig{PoolSize: 1, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", m.Addr())
		return &countingConn{Conn: c, writes: &writes}, err
	}})
	defer func() { must(t, r.Close()) }()
	p := place{State: r}
	alice, leg := p.member("alice")
	must(t, p.PutSession(t.Context(), p.session("alice"))) // connects
	steps := map[string]func() error{
		"put session": func() error { return p.PutSession(t.Context(), p.session("alice")) },
		"put presence": func() error {
			_, err := p.PutPresence(t.Context(), signaling.State{UserID: "alice", Status: "online"})
			return err
		},
		"get presence": func() error {
			_, err := p.GetPresence(t.Context(), "alice")
			return err
		},
		"open room": func() error {
			return p.OpenRoom(t.Context(), p.room(), alice, leg)
		},
		"join":      func() error { return p.JoinRoom(t.Context(), p.room(), alice, leg) },
		"save leg":  func() error { return p.SaveLeg(t.Context(), leg) },
		"connected": func() error { return p.LegConnected(t.Context(), leg) },
		"get session": func() error {
			_, _, err := p.GetSession(t.Context(), "s")
			return err
		},
		"put role":  func() error { return p.PutRole(t.Context(), p.room(), alice) },
		"save room": func() error { return p.SaveRoom(t.Context(), p.room(), "alice", "bob") },
		"mend room": func() error { return p.MendRoom(t.Context(), p.room()) },
		"keep room": func() error { return p.KeepRoom(t.Context(), p.room(), alice, leg) },
		"check leg": func() error {
			if err := p.CheckLeg(t.Context(), "n1", alice, "bob"); !errors.Is(err, server.ErrStateLost) {
				return err
			}
			return nil
		},
		"leave": func() error { return p.LeaveRoom(t.Context(), alice) },
		"close": func() error { return p.CloseRoom(t.Context(), p.room()) },
		"drop":  func() error { return p.DropSession(t.Context(), "s") },
	}
	for name, step := range steps {
		before := writes
		if err := step(); err != nil && !server.Refused(err) { // they come in any order
			t.Fatal(err)
		}
		if n := writes - before; n != 1 {
			t.Errorf("%s took %d writes, want 1", name, n)
		}
	}
}

type countingConn struct {
	net.Conn
	writes *int
}

func (c *countingConn) Write(b []byte) (int, error) {
	*c.writes++
	return c.Conn.Write(b)
}

func TestRedisGone(t *testing.T) {
	m := miniredis.RunT(t)
	r := store.NewRedis(store.RedisConfig{Addr: m.Addr(), Timeout: 100 * time.Millisecond})
	m.Close()
	if err := r.CloseRoom(t.Context(), server.RoomSnapshot{}); err == nil || !strings.Contains(err.Error(), "close room in redis") {
		t.Errorf("error is %v", err)
	}
	must(t, r.Close())
}

// TestServiceRedis runs the suite on a real Redis, whose address is in
// CALLBENCH_REDIS_ADDR.
func TestServiceRedis(t *testing.T) {
	addr := os.Getenv("CALLBENCH_REDIS_ADDR")
	if addr == "" {
		t.Skip("CALLBENCH_REDIS_ADDR does not say where a Redis is")
	}
	n := 0
	runSuite(t, func(t *testing.T) place {
		n++
		return inRedis(t, nil, addr, "callbench-"+strconv.FormatInt(time.Now().UnixNano(), 36)+"-"+strconv.Itoa(n)+"-")
	})
}

func BenchmarkPutSession(b *testing.B) {
	m := miniredis.RunT(b)
	r := store.NewRedis(store.RedisConfig{Addr: m.Addr()})
	defer r.Close()
	p := place{State: r}
	rec := p.session("alice")
	b.ReportAllocs()
	for b.Loop() {
		if err := r.PutSession(context.Background(), rec); err != nil {
			b.Fatal(err)
		}
	}
}
