package server

import "testing"

func TestReplayKeepsItsLimits(t *testing.T) {
	var r replay
	for range maxReplay + 10 {
		r.add([]byte("x"), nil)
	}
	if len(r.kept) != maxReplay || r.last != maxReplay+10 {
		t.Errorf("%d frames are kept of %d", len(r.kept), r.last)
	}
	if r.covers(9) {
		t.Error("a gap went unnoticed")
	}
	if !r.covers(10) || len(r.frames()) != maxReplay {
		t.Errorf("%d frames to replay, %v", len(r.frames()), r.covers(10))
	}
	if _, ok := r.upTo(maxReplay + 11); ok || r.covers(maxReplay+11) {
		t.Error("a client has what was never sent")
	}
	if _, ok := r.upTo(maxReplay + 10); !ok || r.kept != nil || r.bytes != 0 {
		t.Errorf("for a client that has seen everything %d frames of %d bytes are kept", len(r.kept), r.bytes)
	}
	if !r.covers(maxReplay+10) || r.covers(maxReplay+9) {
		t.Error("what was acknowledged is still there")
	}
	big := make([]byte, maxReplayBytes/2)
	for range 3 {
		r.add(big, nil)
	}
	if len(r.kept) != 2 || r.bytes > maxReplayBytes {
		t.Errorf("%d frames of %d bytes are kept", len(r.kept), r.bytes)
	}
}

// TestReplayAcknowledges runs what belongs to a push once and in order, also of
// one that had to go before the client said that it has a later one.
func TestReplayAcknowledges(t *testing.T) {
	var r replay
	var got []int
	add := func(i int, size int) { r.add(make([]byte, size), func() { got = append(got, i) }) }
	run := func(seen uint64) {
		acked, ok := r.upTo(seen)
		if !ok {
			t.Fatalf("%d was not sent", seen)
		}
		for _, f := range acked {
			f()
		}
	}
	add(1, 1)
	add(2, 1)
	r.add(nil, nil)
	add(4, 1)
	run(0)
	run(3)
	run(3)
	run(2)
	if len(got) != 2 || got[0] != 1 || got[1] != 2 {
		t.Errorf("acknowledged %v", got)
	}
	add(5, maxReplayBytes) // pushes 4 out
	run(5)
	if len(got) != 4 || got[2] != 4 || got[3] != 5 {
		t.Errorf("acknowledged %v", got)
	}
}
