package kmsmock

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// TestManySessionsLeaveNothing opens ten thousand sessions and drops their
// connections.
func TestManySessionsLeaveNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("opens 10,000 connections; run without -short")
	}
	synctest.Test(t, func(t *testing.T) {
		s, l := startMock(t, Config{Timing: Fast, CollectorPeriod: 8 * time.Second})
		synctest.Wait()
		before := runtime.NumGoroutine()
		for range 10_000 {
			kms := dialTest(t, l)
			pipe := kms.create("MediaPipeline", nil)
			kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
			kms.close()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		st := s.State()
		if len(st.Objects)+len(st.Sessions)+len(st.Connections) > 0 {
			t.Errorf("left: %d objects, %d sessions, %d connections", len(st.Objects), len(st.Sessions), len(st.Connections))
		}
		// The count is the process's, in which a few of the runtime's own come and go.
		if n := runtime.NumGoroutine(); n > before+10 {
			t.Errorf("%d goroutines, %d before", n, before)
		}
	})
}

func TestSessionsOnSocketsLeaveNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("served", func(t *testing.T) {
		s := Start(t)
		files := openFiles(t)
		sessions := 10_000
		if testing.Short() {
			sessions = 200
		}
		for range sessions {
			kms := dialURL(t, s.URL(), nil)
			kms.create("MediaPipeline", nil)
			kms.close()
		}
		for len(s.State().Connections) > 0 {
			runtime.Gosched()
		}
		s.CollectGarbage() // clears the marks
		s.CollectGarbage()
		s.Empty(t)
		if n := len(s.Sessions()); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		if n := openFiles(t); n > files {
			t.Errorf("%d files are open, %d before", n, files)
		}
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("open files cannot be counted here: %v", err)
	}
	return len(list)
}

// A failure collects what a helper says to a test.
type failure struct {
	text    string
	cleanup []func()
}

func (f *failure) Helper()                        {}
func (f *failure) Errorf(format string, a ...any) { f.text += format }
func (f *failure) Fatalf(format string, a ...any) { panic(format) }
func (f *failure) Cleanup(g func())               { f.cleanup = append(f.cleanup, g) }

func TestWhatIsLeftFailsTheTest(t *testing.T) {
	for _, keep := range []bool{false, true} {
		var f failure
		s := Start(&f, func(c *Config) { c.KeepLeft = keep })
		kms := dialURL(t, s.URL(), nil)
		kms.create("MediaPipeline", nil)
		kms.close()
		for _, g := range f.cleanup {
			g()
		}
		if failed := f.text != ""; failed == keep {
			t.Errorf("failed %v (%q) with KeepLeft %v", failed, f.text, keep)
		}
	}
}

func TestDumpTellsWhoHoldsWhat(t *testing.T) {
	inRules(t, Config{}, func(t *testing.T, s *Server, l *memListener, kms *testClient, pipe, el string) {
		kms.subscribe(el, "ElementConnected")
		kms.invoke(el, "connect", map[string]any{"sink": el})
		got := s.Dump()
		for _, want := range []string{
			"2 objects, 1 sessions", "MediaPipeline " + pipe + " sessions=1", "\n  PassThrough " + el, "    -> AUDIO " + el,
			"on ElementConnected: session " + s.Sessions()[0], "session " + s.Sessions()[0] + ": connection 1, holds 2",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
	})
}

// deaf is a T that counts failures.
type deaf struct {
	failures int
	cleanup  []func()
}

func (d *deaf) Helper()               {}
func (d *deaf) Errorf(string, ...any) { d.failures++ }
func (d *deaf) Fatalf(string, ...any) { d.failures++ }
func (d *deaf) Cleanup(f func())      { d.cleanup = append(d.cleanup, f) }

// TestLeftIsToldOnce holds the end of a test to not repeat what Empty said, and
// to say it if Empty was not called.
func TestLeftIsToldOnce(t *testing.T) {
	for _, asks := range []bool{true, false} {
		d := &deaf{}
		s := Start(d)
		kms := dialURL(t, s.URL(), nil)
		kms.create("MediaPipeline", nil)
		if asks {
			s.Empty(d)
		}
		kms.close()
		for _, f := range d.cleanup {
			f()
		}
		if d.failures != 1 {
			t.Errorf("%d failures if the test calls Empty: %v", d.failures, asks)
		}
	}
}
