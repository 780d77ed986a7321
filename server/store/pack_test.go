package store

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

func TestPack(t *testing.T) {
	plain := ownedLetter{"bob", server.Letter{Number: 1 << 52, Message: signaling.Message{MessageID: "m-1", From: "alice", To: "bob", Content: "grüße\x00", Timestamp: 1_700_000_000_123}}}
	call := plain
	call.Message.Call = &signaling.CallLog{CallID: "c", Outcome: signaling.OutcomeMissed}
	for _, l := range []ownedLetter{plain, call, {}, {Letter: server.Letter{Message: signaling.Message{Timestamp: -1}}}} {
		value, err := encodeEntry(entry{Letter: &l})
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeEntry(value)
		if d := cmp.Diff(&l, back.Letter); d != "" || err != nil {
			t.Errorf("%v\n%s", err, d)
		}
		for n := range value {
			if _, err := decodeEntry(value[:n]); err == nil {
				t.Errorf("%d bytes of %q are a whole entry", n, value)
			}
		}
	}
	m := plain.Message
	m.Content = ""
	if back, err := unpackSent(7, packSent(plain.Message)); err != nil || back.Number != 7 || back.Message != m {
		t.Errorf("%+v, %v", back, err)
	}
	for n := range packSent(m) {
		if _, err := unpackSent(7, packSent(m)[:n]); err == nil {
			t.Errorf("%d bytes are a whole message", n)
		}
	}
}
