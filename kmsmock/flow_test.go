package kmsmock

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestFlowPeriods: Kurento looks every two seconds whether anything came since
// it looked last; the looks follow each other from the first packet on.
func TestFlowPeriods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{Timing: Fast})
		must(t, err)
		defer s.Close()
		c := &conn{srv: s}
		s.serve(c, []byte(`{"jsonrpc":"2.0","id":1,"method":"create","params":{"type":"MediaPipeline"}}`))
		s.mu.Lock()
		o, err := s.create(s.model.byName["PassThrough"], "s", object{"mediaPipeline": s.sortedObjects()[1]})
		s.mu.Unlock()
		must(t, err)
		e := elementOf(o)
		send := func() { e.send(&packet{kind: kindAudio, codec: &codec{name: "OPUS"}, at: time.Now()}) }
		for _, step := range []struct {
			after time.Duration // a packet after this, or only a look
			send  bool
			want  bool
		}{
			{0, true, true},
			{900 * time.Millisecond, true, true}, // the last packet at 0.9 s
			{2 * time.Second, false, true},       // 2.9 s: two seconds of silence, not a whole period
			{time.Second, false, true},           // 3.9 s
			{200 * time.Millisecond, false, false},
			{800 * time.Millisecond, true, true}, // 4.9 s
			{2 * time.Second, false, true},
			{1200 * time.Millisecond, false, false}, // 8.1 s: the periods are those of the beginning
		} {
			time.Sleep(step.after)
			synctest.Wait()
			if step.send {
				send()
			}
			if got := e.out[kindAudio].on.Load(); got != step.want {
				t.Errorf("at %v: flowing is %v", step, got)
			}
		}
	})
}
