package server_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// begins starts a recording of the room.
func (c *client) begins(ref signaling.RTC) {
	c.w.t.Helper()
	ref.Recording = signaling.RecordStart
	c.rtc(signaling.ActionRecord, ref)
}

// connectedNow fails if the journal lacks a connection.
func (w *world) connectedNow(pairs ...string) {
	w.t.Helper()
	for _, pair := range pairs {
		if w.journal.count("kms connect "+pair) == 0 {
			w.t.Errorf("%s is not connected:\n%s", pair, strings.Join(w.journal.list(), "\n"))
		}
	}
}

// TestRecordedLegsMadeAnew replaces both legs of a recorded call at one time: each
// goes on in the recording, though it does not find the other one.
func TestRecordedLegsMadeAnew(t *testing.T) {
	bubble(t, records, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		alice.begins(ref)
		synctest.Wait()
		w.connectedNow("p1.e1>p1.m1.h1", "p1.e2>p1.m1.h2")
		w.media.set(func(m *fakeMedia) { m.delay["release endpoint"] = time.Second })
		anew := ref
		anew.SDP = sdpOffer
		for _, c := range []*client{alice, bob} {
			c.send(signaling.TypeRTC, signaling.ActionOffer, anew)
		}
		time.Sleep(5 * time.Second)
		ports := w.journal.count("kms connect p1.e3>p1.m1.") + w.journal.count("kms connect p1.e4>p1.m1.")
		if ports != 2 || w.journal.count("kms connect p1.e3>p1.e4") != 1 || w.journal.count("kms connect p1.e4>p1.e3") != 1 {
			t.Errorf("the new legs are not connected:\n%s", strings.Join(w.journal.list(), "\n"))
		}
		w.media.set(func(m *fakeMedia) { clear(m.delay) })
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
	})
}

// TestLegMadeAnewAsRecordingBegins replaces the publisher's leg while its recorder
// is being made, before and after it was connected.
func TestLegMadeAnewAsRecordingBegins(t *testing.T) {
	for slow, feeds := range map[string]string{
		"create recorder": "p1.e3>p1.r2", // the first one found its leg gone
		"record":          "p1.e3>p1.r1",
	} {
		t.Run(slow, func(t *testing.T) {
			bubble(t, records, func(t *testing.T, w *world) {
				alice, _ := enters(w, "alice", broadcast)
				bob, ref := enters(w, "bob", broadcast)
				w.media.set(func(m *fakeMedia) { m.delay[slow] = time.Second })
				alice.begins(ref)
				time.Sleep(500 * time.Millisecond)
				w.media.set(func(m *fakeMedia) { clear(m.delay) })
				offer(alice, signaling.RTC{RoomID: ref.RoomID})
				time.Sleep(5 * time.Second)
				w.connectedNow(feeds)
				if bob.recordings() != "requested recording" {
					t.Errorf("bob was told of %q:\n%s", bob.recordings(), strings.Join(w.journal.list(), "\n"))
				}
				for _, c := range []*client{bob, alice} {
					c.rtc(signaling.ActionLeave, signaling.RTC{RoomID: ref.RoomID})
				}
				synctest.Wait()
				rows, err := w.history.Archive().Recordings(t.Context(), ref.RoomID, server.Page{Limit: 10})
				if err != nil || len(rows) != 1 || rows[0].Status != "ready" {
					t.Errorf("history is %+v, %v", rows, err)
				}
				if left := w.media.left(); len(left) != 0 {
					t.Errorf("the media server has %q", left)
				}
			})
		})
	}
}

// shelf is where recordings of tests go.
type shelf struct{}

func (shelf) URI(room, recording string) string {
	return "file:///r/" + room + "/" + recording + ".webm"
}
func (shelf) Size(context.Context, string) (int64, error) { return 4711, nil }

func records(c *server.Config) { c.Recordings = shelf{} }

// recordings lists the states that a client was told of.
func (c *client) recordings() string {
	var states []string
	for _, f := range c.got("rtc/recording") {
		var d signaling.RTC
		if err := f.Into(&d); err != nil {
			c.w.t.Fatal(err)
		}
		states = append(states, d.Recording)
	}
	return strings.Join(states, " ")
}

// TestRecording records a room of every type.
func TestRecording(t *testing.T) {
	for name, test := range map[string]struct {
		open func(w *world) (alice, bob *client, ref signaling.RTC)
		feed string
	}{
		"mcu": {func(w *world) (*client, *client, signaling.RTC) {
			alice, _ := enters(w, "alice", mixed)
			bob, _ := enters(w, "bob", mixed)
			return alice, bob, signaling.RTC{RoomID: "standup"}
		}, "p1.m1.h3>p1.r1"},
		"broadcast": {func(w *world) (*client, *client, signaling.RTC) {
			alice, _ := enters(w, "alice", broadcast)
			bob, _ := enters(w, "bob", broadcast)
			return alice, bob, signaling.RTC{RoomID: "stage"}
		}, "p1.e1>p1.r1"},
		"1v1": {connected, "p1.m1.h3>p1.r1"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, records, func(t *testing.T, w *world) {
				alice, bob, ref := test.open(w)
				ref.Recording = signaling.RecordStart
				started := alice.rtc(signaling.ActionRecord, ref)
				synctest.Wait()
				if bob.recordings() != "requested recording" || started.RecordingID == "" {
					t.Fatalf("bob was told of %q of %+v:\n%s", bob.recordings(), started, strings.Join(w.journal.list(), "\n"))
				}
				if w.journal.count("kms connect "+test.feed) != 1 {
					t.Errorf("%s is not connected:\n%s", test.feed, strings.Join(w.journal.list(), "\n"))
				}
				fields, _ := w.state.Hash("rtc:room:" + ref.RoomID + ":state")
				if fields["recordingPath"] != "file:///r/"+ref.RoomID+"/"+started.RecordingID+".webm" {
					t.Errorf("the room in State is %v", fields)
				}
				alice.refused(signaling.CodeBadState, signaling.ActionRecord, ref)
				time.Sleep(20 * time.Second)
				ref.Recording = signaling.RecordStop
				alice.rtc(signaling.ActionRecord, ref)
				synctest.Wait()
				if bob.recordings() != "requested recording stopping ready" {
					t.Errorf("bob was told of %q", bob.recordings())
				}
				alice.refused(signaling.CodeBadState, signaling.ActionRecord, ref)
				rows, err := w.history.Archive().Recordings(t.Context(), ref.RoomID, server.Page{Limit: 10})
				if err != nil || len(rows) != 1 || rows[0].Status != "ready" || rows[0].Duration() != 20*time.Second || rows[0].FileSize != 4711 ||
					strings.Join(rows[0].Participants, " ") != "alice bob" || rows[0].File != "file:///r/"+ref.RoomID+"/"+started.RecordingID+".webm" {
					t.Errorf("history is %+v, %v", rows, err)
				}
				if slices.ContainsFunc(w.media.left(), func(id string) bool { return strings.Contains(id, ".r") }) {
					t.Errorf("the media server has %q", w.media.left())
				}
				ref.Recording = ""
				alice.rtc(signaling.ActionLeave, ref)
				bob.rtc(signaling.ActionLeave, ref)
			})
		})
	}
}

// TestRecordingEnds ends recordings otherwise than by a request to stop.
func TestRecordingEnds(t *testing.T) {
	start := signaling.RTC{RoomID: "standup", Recording: signaling.RecordStart}
	for name, test := range map[string]struct {
		before func(m *fakeMedia)
		after  func(w *world, alice *client)
		states string
	}{
		"the room ends": {nil, func(_ *world, alice *client) { alice.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"}) }, "requested recording stopping ready"},
		"no media":      {func(m *fakeMedia) { m.starved["video"] = true }, func(*world, *client) { time.Sleep(time.Minute) }, "requested failed"},
		"refused":       {func(m *fakeMedia) { m.fail["create recorder"] = errors.New("no") }, func(*world, *client) {}, "requested failed"},
		"full disk": {nil, func(w *world, _ *client) {
			w.media.recorder("p1.r1").on(server.RecorderEvent{Kind: server.RecorderFailed, Detail: "no space"})
		}, "requested recording failed"},
		"media server lost": {nil, func(w *world, _ *client) {
			w.media.endpoint("p1.e1").on(server.MediaEvent{Kind: server.MediaLost})
		}, "requested recording failed"},
		"hanging stop": {func(m *fakeMedia) { m.hang["stop"] = true }, func(_ *world, alice *client) {
			alice.rtc(signaling.ActionRecord, signaling.RTC{RoomID: "standup", Recording: signaling.RecordStop})
			time.Sleep(time.Minute)
		}, "requested recording stopping failed"},
		"an error behind the last frame": {func(m *fakeMedia) { m.delay["stop"] = 2 * time.Second }, func(w *world, alice *client) {
			alice.rtc(signaling.ActionRecord, signaling.RTC{RoomID: "standup", Recording: signaling.RecordStop})
			time.Sleep(time.Second)
			w.media.recorder("p1.r1").on(server.RecorderEvent{Kind: server.RecorderFailed, Detail: "no space"})
			time.Sleep(5 * time.Second)
		}, "requested recording stopping failed"},
		"stopped too early": {func(m *fakeMedia) { m.starved["audio"] = true }, func(_ *world, alice *client) {
			alice.rtc(signaling.ActionRecord, signaling.RTC{RoomID: "standup", Recording: signaling.RecordStop})
		}, "requested failed"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, records, func(t *testing.T, w *world) {
				if test.before != nil {
					w.media.set(test.before)
				}
				alice, _ := enters(w, "alice", mixed)
				alice.rtc(signaling.ActionRecord, start)
				synctest.Wait()
				test.after(w, alice)
				synctest.Wait()
				rows, err := w.history.Archive().Recordings(t.Context(), "standup", server.Page{Limit: 10})
				last := test.states[strings.LastIndex(test.states, " ")+1:]
				if err != nil || len(rows) != 1 || rows[0].Status != last {
					t.Errorf("history is %+v, %v, want %s", rows, err, last)
				}
				if name != "the room ends" {
					if alice.recordings() != test.states {
						t.Errorf("alice was told of %q, want %q", alice.recordings(), test.states)
					}
					alice.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
				}
				time.Sleep(time.Minute)
				if left := w.media.left(); len(left) != 0 {
					t.Errorf("the media server has %q", left)
				}
			})
		})
	}
}

func TestRecordingRefused(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, _ := enters(w, "alice", mixed)
		alice.refused(signaling.CodeForbidden, signaling.ActionRecord, signaling.RTC{RoomID: "standup", Recording: "start"})
		alice.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
	})
	bubble(t, records, func(t *testing.T, w *world) {
		alice, _ := enters(w, "alice", mixed)
		bob, _ := enters(w, "bob", mixed)
		bob.refused(signaling.CodeForbidden, signaling.ActionRecord, signaling.RTC{RoomID: "standup", Recording: "start"})
		alice.refused(signaling.CodeBadData, signaling.ActionRecord, signaling.RTC{RoomID: "standup", Recording: "pause"})
		alice.refused(signaling.CodeBadState, signaling.ActionRecord, signaling.RTC{RoomID: "standup", Recording: "stop"})
		for _, c := range []*client{alice, bob} {
			c.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		}
	})
}
