package kmsmock

import (
	"context"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// inWorld runs a test in a bubble, or in real time against the server at
// CALLBENCH_KMS_URL.
func inWorld(t *testing.T, hosts int, cfg Config, f func(t *testing.T, kms *testClient, peers []*testPeer)) {
	t.Helper()
	url := os.Getenv("CALLBENCH_KMS_URL")
	if url == "" {
		inBubble(t, hosts, cfg, func(t *testing.T, _ *Server, kms *testClient, peers []*testPeer) { f(t, kms, peers) })
		return
	}
	kms := dialURL(t, url, func(ctx context.Context, network, address string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	})
	defer kms.close()
	var peers []*testPeer
	for i := range hosts {
		p := newTestPeer(t, string(rune('A'+i)), nil, false)
		defer p.close()
		peers = append(peers, p)
	}
	f(t, kms, peers)
}

// An rtcpLog keeps what RTCP a peer gets.
type rtcpLog struct {
	mu      sync.Mutex
	rates   []int
	packets []rtcp.Packet
}

func logRTCP(p *testPeer) *rtcpLog {
	l := &rtcpLog{}
	p.onRTCP = func(_ string, packets []rtcp.Packet) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, packet := range packets {
			if remb, ok := packet.(*rtcp.ReceiverEstimatedMaximumBitrate); ok {
				l.rates = append(l.rates, int(remb.Bitrate))
			}
			l.packets = append(l.packets, packet)
		}
	}
	return l
}

func (l *rtcpLog) lastRate() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rates) == 0 {
		return 0
	}
	return l.rates[len(l.rates)-1]
}

func TestEstimatesFollowTheBandwidthProperties(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   map[string]any
		frame int
		want  int
	}{
		{"as fresh", nil, 2083, 300000},
		{"little video", nil, 0, 30000},
		{"at most", map[string]any{"maxVideoRecvBandwidth": 200}, 2083, 200000},
		{"at least", map[string]any{"minVideoRecvBandwidth": 1500}, 2083, 1500000},
		{"another first limit", map[string]any{"rembParams": map[string]any{"rembOnConnect": 250000}}, 2083, 250000},
		{"first limit above the most", map[string]any{"maxVideoSendBandwidth": 150}, 2083, 150000},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, Config{Timing: Fast}, func(t *testing.T, kms *testClient, peers []*testPeer) {
				p := peers[0]
				p.frame, p.set = c.frame, c.set
				l := logRTCP(p)
				loopback(kms, p, func(string) bool { return true })
				play(peers, 5*time.Second)
				if got := l.lastRate(); got != c.want {
					t.Errorf("the peer may send %d bit/s, want %d; %d estimates", got, c.want, len(l.rates))
				}
			})
		})
	}
}

// What the receiver's peer takes limits the sender's, once it has taken more
// than the first limit.
func TestEstimateOfTheReceiverReachesTheSender(t *testing.T) {
	inWorld(t, 2, Config{Timing: Fast}, func(t *testing.T, kms *testClient, peers []*testPeer) {
		a, b := peers[0], peers[1]
		a.frame = 2083
		l := logRTCP(a)
		newCall(t, kms, a, b)
		play(peers, 3*time.Second)
		say := func(rate float32) {
			for _, r := range b.pc.GetReceivers() {
				if r.Track().Kind().String() == "video" {
					must(t, b.pc.WriteRTCP([]rtcp.Packet{&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: rate, SSRCs: []uint32{uint32(r.Track().SSRC())}}}))
				}
			}
			time.Sleep(2 * time.Second)
		}
		var got []int
		for _, rate := range []float32{200000, 400000, 250000, 60000} {
			say(rate)
			got = append(got, l.lastRate())
		}
		if want := []int{300000, 400000, 250000, 100000}; !slices.Equal(got, want) {
			t.Errorf("after 200, 400, 250 and 60 kbit/s the sender may send %d, want %d", got, want)
		}
	})
}

func TestLossHalvesTheEstimate(t *testing.T) {
	e := newRembEstimator(rembSettings{intervalTop: 100, exponential: 0.04, linearGrade: 30, decrement: 0.5, threshold: 0.8, upLosses: 12, linearMin: 50})
	now := time.Now()
	st := &inStream{first: 1, highest: 100, packets: 100, bytes: 62500, firstAt: now}
	second := func(fraction uint8) int64 {
		now = now.Add(time.Second)
		if !e.update(st, fraction, now) {
			t.Fatal("no estimate")
		}
		st.highest, st.packets, st.bytes = st.highest+100, st.packets+100, st.bytes+62500
		return e.estimate
	}
	for i, step := range []struct {
		fraction uint8
		want     int64
	}{{0, 520000}, {0, 540800}, {5, 500000}, {50, 250000}, {0, 503333}} {
		if got := second(step.fraction); got != step.want {
			t.Errorf("step %d with a loss of %d/256: %d bit/s, want %d", i, step.fraction, got, step.want)
		}
	}
	st.highest -= 100
	if e.update(st, 0, now.Add(time.Second)) {
		t.Error("an estimate although nothing came")
	}
}

func TestBandwidthPropertiesStayInOrder(t *testing.T) {
	inWorld(t, 0, Config{Timing: Fast}, func(t *testing.T, kms *testClient, _ []*testPeer) {
		ep := kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": kms.create("MediaPipeline", nil)})
		for _, step := range []struct {
			name                      string
			set                       int
			minRecv, minSend, maxSend float64
		}{
			{"minVideoRecvBandwidth", 1500, 100, 100, 500}, {"minVideoSendBandwidth", 600, 500, 500, 500},
			{"maxVideoSendBandwidth", 50, 500, 500, 500}, {"minVideoSendBandwidth", 0, 0, 0, 500},
			{"maxVideoSendBandwidth", 50, 0, 0, 50}, {"maxVideoSendBandwidth", 0, 0, 0, 0}, {"minVideoSendBandwidth", -5, 0, 0, 0},
		} {
			setAll(kms, ep, map[string]any{step.name: step.set})
			got := [3]any{kms.invoke(ep, "getMinVideoRecvBandwidth", nil), kms.invoke(ep, "getMinVideoSendBandwidth", nil),
				kms.invoke(ep, "getMaxVideoSendBandwidth", nil)}
			if want := [3]any{step.minRecv, step.minSend, step.maxSend}; got != want {
				t.Errorf("%s %d: %v, want %v", step.name, step.set, got, want)
			}
		}
	})
}

func TestLostVideoIsSentAgain(t *testing.T) {
	inBubble(t, 1, Config{Timing: Fast}, func(t *testing.T, _ *Server, kms *testClient, peers []*testPeer) {
		p := peers[0]
		loopback(kms, p, func(string) bool { return true })
		play([]*testPeer{p}, 3*time.Second)
		p.pause()
		time.Sleep(time.Second)
		p.mu.Lock()
		last := p.lastVideo
		p.mu.Unlock()
		before := p.net.heard.Load()
		must(t, p.pc.WriteRTCP([]rtcp.Packet{&rtcp.TransportLayerNack{MediaSSRC: last.SSRC,
			Nacks: []rtcp.NackPair{{PacketID: last.SequenceNumber - 3, LostPackets: 0b101}, {PacketID: last.SequenceNumber + 9}}}}))
		time.Sleep(100 * time.Millisecond)
		if n := p.net.heard.Load() - before; n != 3 {
			t.Errorf("%d packets came again, want 3", n)
		}
	})
}

// A packet that does not arrive is asked for at once, then again, and in the
// end a key frame is.
func TestLostPacketsOfTheSenderAreAskedFor(t *testing.T) {
	inWorld(t, 1, Config{Timing: Fast}, func(t *testing.T, kms *testClient, peers []*testPeer) {
		p := peers[0]
		l := logRTCP(p)
		loopback(kms, p, func(string) bool { return true })
		play(peers, 2*time.Second)
		l.mu.Lock()
		l.packets = nil
		l.mu.Unlock()
		p.net.lose.Store(true)
		time.Sleep(1500 * time.Millisecond)
		l.mu.Lock()
		defer l.mu.Unlock()
		nacks, plis := 0, 0
		var missing []uint16
		for _, packet := range l.packets {
			switch packet := packet.(type) {
			case *rtcp.TransportLayerNack:
				nacks++
				missing = append(missing, packet.Nacks[0].PacketList()...)
			case *rtcp.PictureLossIndication:
				plis++
			}
		}
		if nacks < 2 || plis != 1 || len(slices.Compact(missing)) != 1 {
			t.Errorf("%d requests for %v, %d for a key frame, want some for one packet and one", nacks, missing, plis)
		}
	})
}

// Who asks the sender for key frames is the server, for each new sink; what a
// receiver asks for goes no further.
func TestKeyFramesAreAskedForNewSinksOnly(t *testing.T) {
	inWorld(t, 2, Config{Timing: Fast}, func(t *testing.T, kms *testClient, peers []*testPeer) {
		a, b := peers[0], peers[1]
		l := logRTCP(a)
		newCall(t, kms, a, b)
		play(peers, 3*time.Second)
		asked := func() int {
			l.mu.Lock()
			defer l.mu.Unlock()
			n := 0
			for _, packet := range l.packets {
				switch packet.(type) {
				case *rtcp.FullIntraRequest, *rtcp.PictureLossIndication:
					n++
				}
			}
			l.packets = nil
			return n
		}
		if n := asked(); n == 0 {
			t.Error("no request for the first sink")
		}
		b.mu.Lock()
		ssrc := b.lastVideo.SSRC
		b.mu.Unlock()
		must(t, b.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}}))
		time.Sleep(2 * time.Second)
		if n := asked(); n != 0 {
			t.Errorf("%d requests after the receiver's", n)
		}
		kms.invoke(a.endpoint, "disconnect", map[string]any{"sink": b.endpoint})
		time.Sleep(200 * time.Millisecond)
		kms.invoke(a.endpoint, "connect", map[string]any{"sink": b.endpoint})
		time.Sleep(time.Second)
		if n := asked(); n == 0 {
			t.Error("no request for the sink that came again")
		}
	})
}
