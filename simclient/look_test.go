package simclient

import (
	"fmt"
	"testing"
	"time"

	"github.com/callbench/callbench/simclient/media"
)

// A client that looks sees who is in the picture, as often as it wants to and no oftener; one that does not
// look asks for no key frames.
func TestLookSeesWhoIsInThePicture(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		barcode := func(c *Config) {
			for _, name := range []string{media.ClipOpus, media.ClipBarcode} {
				clip, err := media.Load(name)
				r.must(err)
				c.Clips = append(c.Clips, clip)
			}
		}
		// A key frame comes each second by itself; half a second before one, only one that was asked for comes.
		alice, bob := r.connected("alice", barcode), r.connected("bob", barcode, func(c *Config) { c.Look = 1500 * time.Millisecond })
		r.call(alice, bob)
		first := bob.wait(t, 5*time.Second, eventSeen, "from=alice", "media=video", "pictures=1")
		time.Sleep(10*time.Second - time.Millisecond)
		hash := fmt.Sprint("from_hash=", media.ParticipantHash("alice"))
		seen := bob.find(eventSeen, hash, "track=1", "width=256", "height=192")
		if len(seen) < 6 || len(seen) > 7 {
			t.Errorf("looked %d times in 10 s, first %v", len(seen), first)
		}
		for i := 1; i < len(seen); i++ {
			if d := seen[i].at - seen[i-1].at; d < 1500*time.Millisecond {
				t.Errorf("looked again after %v", d)
			}
		}
		alice.none(t, eventSeen)
		bob.one(t, eventFlow, "media=video", "state=flowing", "from=alice")
		r.must(alice.Hangup(r.ctx))
		time.Sleep(time.Second)
		if asked, other := keyFramesAsked(alice.one(t, eventMediaSent, "media=video")), keyFramesAsked(bob.one(t, eventMediaSent, "media=video")); asked < other+4 {
			t.Errorf("%d key frames were asked of alice, and %d of bob", asked, other)
		}
	})
}

// keyFramesAsked is how many key frames were asked of a sender.
func keyFramesAsked(sent event) (n uint64) {
	for _, a := range sent.attrs {
		if a.Key == "key_frame_requests" {
			n = a.Value.Uint64()
		}
	}
	return n
}
