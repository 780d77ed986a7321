package server_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// presenceTrips counts what presence asks of State, each one round trip.
type presenceTrips struct {
	server.State
	puts, gets atomic.Int32 // users are spread over queues
}

func (s *presenceTrips) PutPresence(ctx context.Context, p signaling.State) (uint64, error) {
	s.puts.Add(1)
	return s.State.PutPresence(ctx, p)
}

func (s *presenceTrips) GetPresence(ctx context.Context, user string) (signaling.State, error) {
	s.gets.Add(1)
	return s.State.GetPresence(ctx, user)
}

// TestPresenceCosts has a user with many contacts come and hide: each change is
// one round trip however many are told, and who comes reads nothing to be told
// of the others.
func TestPresenceCosts(t *testing.T) {
	const contacts = 20
	users := []string{"star"}
	for i := range contacts {
		users = append(users, fmt.Sprint("fan", i))
	}
	var trips *presenceTrips
	tune := func(c *server.Config) {
		c.Relations = friends(users...)
		trips = &presenceTrips{State: c.State}
		c.State = trips
	}
	bubble(t, tune, func(t *testing.T, w *world) {
		var fans []*client
		for _, user := range users[1:] {
			fans = append(fans, w.join(user))
		}
		synctest.Wait()
		if trips.puts.Load() != contacts || trips.gets.Load() != 0 {
			t.Errorf("%d users came with %d writes and %d reads", contacts, trips.puts.Load(), trips.gets.Load())
		}
		star := w.join("star")
		synctest.Wait()
		star.request(signaling.TypeState, "", signaling.State{Status: signaling.Offline})
		synctest.Wait()
		if trips.puts.Load() != contacts+2 || trips.gets.Load() != 0 {
			t.Errorf("two more changes and %d contacts took %d writes and %d reads", contacts, trips.puts.Load()-contacts, trips.gets.Load())
		}
		for _, f := range fans {
			if told := f.got("state"); len(told) < 2 || presence(t, told[len(told)-1]) != "star offline 2" {
				t.Errorf("%s was told %v at last", f.name, told)
			}
		}
	})
}
