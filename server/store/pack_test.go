package store

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

func TestPack(t *testing.T) {
	plain := ownedLetter{Owner: "bob", Letter: server.Letter{Number: 1 << 52, Message: signaling.Message{MessageID: "m-1", From: "alice", To: "bob", Content: "grüße\x00", Timestamp: 1_700_000_000_123}}}
	call := plain
	call.Message.Call = &signaling.CallLog{CallID: "c", Outcome: signaling.OutcomeMissed}
	for _, l := range []ownedLetter{plain, call, {}, {Letter: server.Letter{Message: signaling.Message{Timestamp: -1}}}} {
		value, err := encodeEntry(entry{Letter: &l})
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeEntry(value)
		if d := cmp.Diff(&l, back.Letter, cmp.AllowUnexported(ownedLetter{})); d != "" || err != nil {
			t.Errorf("%v\n%s", err, d)
		}
		for n := range value {
			if _, err := decodeEntry(value[:n]); err == nil {
				t.Errorf("%d bytes of %q are a whole entry", n, value)
			}
		}
	}
	sent := plain.Letter
	sent.Message.Content = ""
	record := packSent(plain.Letter)
	if back, err := unpackSent(record); err != nil || back != sent {
		t.Errorf("%+v, %v", back, err)
	}
	for n := 1; n < len(record); n++ {
		if _, err := unpackSent(record[:n]); err == nil {
			t.Errorf("%d bytes are a whole message", n)
		}
	}
	if position, last, err := unpackMark(packMark(1<<40, 1<<52)); position != 1<<40 || last != 1<<52 || err != nil {
		t.Errorf("a mark is %d and %d, %v", position, last, err)
	}
}
