package kmsmock

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestClosingSessionIsNotTold compares what two sessions hear of the end of one:
// the other is told of its objects, it is not. So a real server was seen to do.
func TestClosingSessionIsNotTold(t *testing.T) {
	for _, release := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			_, l := startMock(t, Config{Timing: Fast})
			own, other := dialTest(t, l), dialTest(t, l)
			defer own.close()
			defer other.close()
			for _, c := range []*testClient{own, other} {
				c.subscribe(managerID, "ObjectDestroyed")
			}
			own.create("MediaPipeline", nil)
			if resp := own.request("closeSession", map[string]any{"release": release}); resp["error"] != nil {
				t.Fatal(resp)
			}
			time.Sleep(time.Second)
			if n := len(own.seen()); n != 0 {
				t.Errorf("release %v: the closed session is told %v", release, own.seen())
			}
			if n := len(other.seen()); n != 1 {
				t.Errorf("release %v: the other session is told %v", release, other.seen())
			}
		})
	}
}
