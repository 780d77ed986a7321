package server_test

import (
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
