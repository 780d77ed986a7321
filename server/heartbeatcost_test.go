package server_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// meteredConn counts what is written to Redis.
type meteredConn struct {
	net.Conn
	written *atomic.Int64
}

func (c meteredConn) Write(b []byte) (int, error) {
	c.written.Add(int64(len(b)))
	return c.Conn.Write(b)
}

// TestHeartbeatCost has a heartbeat of a member cost the same in a large room and in a
// small one, and no more than a session's record and a question.
func TestHeartbeatCost(t *testing.T) {
	const most = 1200 // bytes
	for _, members := range []int{5, 40} {
		synctest.Test(t, func(t *testing.T) {
			mini := miniredis.NewMiniRedis()
			defer mini.Close()
			mini.ClockTTL(true)
			var written atomic.Int64
			client := store.NewRedis(store.RedisConfig{Dial: func(context.Context, string, string) (net.Conn, error) {
				c, err := mini.Dial()
				return meteredConn{c, &written}, err
			}})
			defer func() { _ = client.Close() }()
			w := newWorld(t, func(c *server.Config) { c.State = client })
			for i := range members {
				w.join(fmt.Sprint("user", i)).rtc(signaling.ActionJoin, signaling.RTC{RoomID: "stage", RoomType: "broadcast", Role: "subscriber"})
			}
			synctest.Wait()
			before := written.Load()
			time.Sleep(30 * time.Second) // the interval of heartbeats
			synctest.Wait()
			each := (written.Load() - before) / int64(members)
			t.Logf("a heartbeat in a room of %d: %d bytes to Redis", members, each)
			if each == 0 || each > most {
				t.Errorf("a heartbeat in a room of %d costs %d bytes", members, each)
			}
			w.close()
		})
	}
}
