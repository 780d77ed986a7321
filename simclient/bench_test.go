package simclient

import (
	"log/slog"
	"testing"

	"github.com/callbench/callbench/signaling"
)

// BenchmarkLeg is what a client pays to set up a PeerConnection, as far as its
// own side goes: making it, its offer, gathering and closing.
func BenchmarkLeg(b *testing.B) {
	c, err := New(Config{User: "alice", URL: "ws://server", Loopback: true})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	k := &call{id: "c-1"}
	k.media = newMediaFlow(c, k)
	if err := k.media.layOut(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		l, err := c.openLeg(k)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.offer(); err != nil {
			b.Fatal(err)
		}
		k.offers = nil
		if err := l.pc.GracefulClose(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReceive is what a frame from the server costs, its log record left
// out.
func BenchmarkReceive(b *testing.B) {
	c, err := New(Config{User: "alice", URL: "ws://server", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	index := 0
	f, err := signaling.New(signaling.TypeRTC, signaling.ActionCandidate, signaling.RTC{CallID: "c-1", RoomID: "r-1",
		Candidate: "candidate:1 2 UDP 2015364095 127.0.0.1 48619 typ host", SDPMid: "0", SDPMLineIndex: &index})
	if err != nil {
		b.Fatal(err)
	}
	f.Seq = 1
	frame, err := signaling.Encode(f)
	if err != nil {
		b.Fatal(err)
	}
	c.link.state = linkUp
	c.call = &call{id: "c-1", room: "r-1", leg: &leg{}, state: callConnected}
	b.ReportAllocs()
	for b.Loop() {
		c.session.lastSeq = 0
		c.receive(nil, frame)
	}
	c.call = nil
}
