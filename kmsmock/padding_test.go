package kmsmock

import (
	"testing"
	"time"

	"github.com/pion/rtcp"
)

func TestPaddingLeavesNoGap(t *testing.T) {
	var p padding
	sent := map[uint16]uint16{}
	for _, seq := range []uint16{65533, 65534, 65535, 2, 3} { // 65535, 0 and 1 are padding
		if seq == 65535 {
			for _, n := range []uint16{65535, 0, 1} {
				p.add(n)
			}
			continue
		}
		sent[seq] = seq - p.before(seq)
	}
	want := map[uint16]uint16{65533: 65533, 65534: 65534, 2: 65535, 3: 0}
	for seq, n := range want {
		if sent[seq] != n {
			t.Errorf("%d is sent on as %d, want %d", seq, sent[seq], n)
		}
	}
	if late := uint16(65534) - p.before(65534); late != 65534 {
		t.Errorf("a packet that comes late is sent on as %d", late)
	}
	for range 100 { // beyond what is remembered
		p.add(5)
	}
	if n := p.before(6); n != 103 {
		t.Errorf("%d packets of padding before one, want 103", n)
	}
}

// A sender that looks for bandwidth, as Chromium does, sends packets of padding
// alone. Nobody asks for them as if they were lost.
func TestPaddingIsNotLost(t *testing.T) {
	inWorld(t, 1, Config{Timing: Fast}, func(t *testing.T, kms *testClient, peers []*testPeer) {
		p := peers[0]
		l := logRTCP(p)
		loopback(kms, p, func(string) bool { return true })
		play(peers, 2*time.Second)
		l.mu.Lock()
		l.packets = nil
		l.mu.Unlock()
		for range 5 {
			p.pause() // a track is written to by one at a time
			must(t, p.video.GeneratePadding(3))
			play(peers, 200*time.Millisecond)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, packet := range l.packets {
			switch packet := packet.(type) {
			case *rtcp.TransportLayerNack:
				t.Errorf("asked for %v", packet.Nacks)
			case *rtcp.ReceiverReport:
				for _, r := range packet.Reports {
					if r.TotalLost > 0 {
						t.Errorf("%d packets of %d are said to be lost", r.TotalLost, r.SSRC)
					}
				}
			}
		}
	})
}
