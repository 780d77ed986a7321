package server_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// slowDisk is an inbox whose letters are safe a second after they were put, or
// turn out not to be.
type slowDisk struct {
	store.MemoryInbox
	broken bool
}

func (s *slowDisk) PutThen(ctx context.Context, owner string, m signaling.Message, safe func(server.Letter, bool, error)) (server.Letter, bool, error) {
	l, fresh, err := s.Put(ctx, owner, m)
	if err != nil {
		return l, fresh, err
	}
	var failure error
	if s.broken {
		failure = errors.New("the disk is full")
	}
	time.AfterFunc(time.Second, func() { safe(l, fresh, failure) })
	return l, fresh, nil
}

func TestMessageBeforeItIsSafe(t *testing.T) {
	disk := &slowDisk{}
	bubble(t, func(c *server.Config) { c.Inbox = disk }, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		hello := signaling.Message{MessageID: "1", To: "bob", Content: "hello"}
		first := alice.send(signaling.TypeMessage, "", hello)
		again := alice.send(signaling.TypeMessage, "", hello)
		synctest.Wait()
		if n := len(bob.got("message")); n != 1 {
			t.Errorf("bob has %d messages at once", n)
		}
		if _, answered := alice.answer(first); answered {
			t.Error("alice was answered before her message is safe")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, id := range []string{first, again} {
			if f, ok := alice.answer(id); !ok || f.Type != signaling.TypeAck {
				t.Errorf("alice was answered %v %+v", ok, f)
			}
		}
		if n := len(bob.got("message")); n != 1 {
			t.Errorf("bob has %d messages", n)
		}
		disk.broken = true
		alice.isError(signaling.CodeInternal, alice.request(signaling.TypeMessage, "", signaling.Message{MessageID: "2", To: "bob", Content: "again"}))
	})
}

// TestNoteToOneselfIsSafe is answered before it is pushed, as everything is.
func TestNoteToOneselfIsSafe(t *testing.T) {
	bubble(t, func(c *server.Config) { c.Inbox = &slowDisk{} }, func(t *testing.T, w *world) {
		alice := w.join("alice")
		alice.request(signaling.TypeMessage, "", signaling.Message{MessageID: "1", To: "alice", Content: "milk"})
		synctest.Wait()
		w.journal.inOrder(t, "alice-> message", "alice<- ack", "alice<- message")
	})
}
