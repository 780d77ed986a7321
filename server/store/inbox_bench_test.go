package store_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// BenchmarkInbox is what a message costs an inbox from being put to being
// delivered, 32 of them at a time.
func BenchmarkInbox(b *testing.B) {
	b.Run("memory", func(b *testing.B) { benchmarkInbox(b, new(store.MemoryInbox)) })
	b.Run("mysql", func(b *testing.B) {
		m, err := store.OpenMySQL(b.Context(), store.MySQLConfig{DSN: serviceDSN(b), Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		benchmarkInbox(b, m.Inbox())
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	})
}

func benchmarkInbox(b *testing.B, inbox server.Inbox) {
	eager, _ := inbox.(server.EagerInbox)
	var safe sync.WaitGroup
	var numbers []uint64
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		m := signaling.Message{MessageID: strconv.Itoa(n), From: "alice", To: "bob", Content: "a message of usual length, which is some words", Timestamp: 1_700_000_000_123}
		l, err := server.Letter{}, error(nil)
		if eager != nil {
			safe.Add(1)
			l, _, err = eager.PutThen(b.Context(), "bob", m, func(server.Letter, bool, error) { safe.Done() })
		} else {
			l, _, err = inbox.Put(b.Context(), "bob", m)
		}
		if err != nil {
			b.Fatal(err)
		}
		if numbers = append(numbers, l.Number); len(numbers) == 32 {
			if err := inbox.Delivered(b.Context(), "bob", numbers...); err != nil {
				b.Fatal(err)
			}
			numbers = nil
		}
	}
	safe.Wait()
}
