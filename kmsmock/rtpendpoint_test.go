package kmsmock

import (
	"encoding/base64"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/transport/v5"
)

// A udpPeer is a peer without ICE: one medium on a pair of ports.
type udpPeer struct {
	t       testing.TB
	conns   [2]transport.UDPConn
	to      [2]*net.UDPAddr
	ssrc    uint32
	pt      uint8
	in, out *srtp.Context // nil without SRTP
	wg      sync.WaitGroup

	mu       sync.Mutex
	packets  []rtp.Packet
	controls []rtcp.Packet
}

func newUDPPeer(t testing.TB, n transport.Net, ip string, port int) *udpPeer {
	t.Helper()
	p := &udpPeer{t: t, ssrc: 0x1111, pt: 0}
	for i := range p.conns {
		conn, err := n.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(ip), Port: port + i})
		must(t, err)
		p.conns[i] = conn
		p.wg.Go(func() { p.read(conn, i == 1) })
	}
	return p
}

func (p *udpPeer) read(conn transport.UDPConn, control bool) {
	buf := make([]byte, 2000)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		p.take(slices.Clone(buf[:n]), control)
	}
}

func (p *udpPeer) take(b []byte, control bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	switch {
	case control:
		if p.in != nil {
			b, err = p.in.DecryptRTCP(nil, b, nil)
		}
		var list []rtcp.Packet
		if err == nil {
			list, err = rtcp.Unmarshal(b)
		}
		p.controls = append(p.controls, list...)
	default:
		if p.in != nil {
			b, err = p.in.DecryptRTP(nil, b, nil)
		}
		var packet rtp.Packet
		if err == nil {
			err = packet.Unmarshal(b)
		}
		p.packets = append(p.packets, packet)
	}
	if err != nil {
		p.t.Error(err)
	}
}

// aim reads the server's ports off its description.
func (p *udpPeer) aim(description, kind string) {
	p.t.Helper()
	m := regexp.MustCompile(`m=` + kind + ` (\d+) `).FindStringSubmatch(description)
	if m == nil {
		p.t.Fatalf("no %s in %s", kind, description)
	}
	port, err := strconv.Atoi(m[1])
	must(p.t, err)
	for i := range p.to {
		p.to[i] = &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: port + i}
	}
	if want := fmt.Sprintf("a=rtcp:%d\r\n", port+1); !strings.Contains(description, want) || port%2 != 0 {
		p.t.Errorf("port %d without %q", port, want)
	}
}

// play sends n packets, 50 a second, and a report every half second if reports is set.
func (p *udpPeer) play(n int, reports bool) {
	for i := range n {
		packet := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: p.pt, SSRC: p.ssrc, SequenceNumber: uint16(i),
			Timestamp: uint32(i) * 160}, Payload: []byte{1, 2, 3, byte(i)}}
		b, err := packet.Marshal()
		must(p.t, err)
		p.send(b, 0)
		if reports && i%25 == 10 {
			b, err := rtcp.Marshal([]rtcp.Packet{&rtcp.SenderReport{SSRC: p.ssrc, RTPTime: uint32(i) * 160, PacketCount: uint32(i)}})
			must(p.t, err)
			p.send(b, 1)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *udpPeer) send(b []byte, i int) {
	var err error
	if p.out != nil && i == 0 {
		b, err = p.out.EncryptRTP(nil, b, nil)
	} else if p.out != nil {
		b, err = p.out.EncryptRTCP(nil, b, nil)
	}
	must(p.t, err)
	_, err = p.conns[i].WriteTo(b, p.to[i])
	must(p.t, err)
}

func (p *udpPeer) close() {
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.wg.Wait()
}

func (p *udpPeer) got() (packets []rtp.Packet, controls []rtcp.Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.packets), slices.Clone(p.controls)
}

var rtpEndpointEvents = []string{"MediaSessionStarted", "MediaStateChanged", "ConnectionStateChanged", "MediaFlowInStateChanged",
	"MediaFlowOutStateChanged", "MediaTranscodingStateChanged"}

func rtpOffer(port int, lines ...string) string {
	return "v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio " + strconv.Itoa(port) + " RTP/AVP 0\r\n" +
		strings.Join(lines, "")
}

// inRTPBubble runs f with a peer without ICE at 10.0.0.2 and an endpoint for it.
func inRTPBubble(t *testing.T, args map[string]any, f func(kms *testClient, endpoint string, p *udpPeer)) {
	t.Helper()
	inBubbleNets(t, 2, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, nets []transport.Net) {
		p := newUDPPeer(t, nets[1], "10.0.0.2", 40000)
		defer p.close()
		all := map[string]any{"mediaPipeline": kms.create("MediaPipeline", nil)}
		for k, v := range args {
			all[k] = v
		}
		endpoint := kms.create("RtpEndpoint", all)
		kms.subscribe(endpoint, rtpEndpointEvents...)
		kms.invoke(endpoint, "connect", map[string]any{"sink": endpoint})
		f(kms, endpoint, p)
		kms.value("release", map[string]any{"object": all["mediaPipeline"]})
		if left := s.Left(); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
}

// TestRtpEndpoint has the events and their order as a real server had them.
func TestRtpEndpoint(t *testing.T) {
	inRTPBubble(t, nil, func(kms *testClient, endpoint string, p *udpPeer) {
		p.aim(kms.invoke(endpoint, "processOffer", map[string]any{"offer": rtpOffer(40000)}).(string), "audio")
		p.play(150, true)
		stats := kms.invoke(endpoint, "getStats", nil).(map[string]any)
		time.Sleep(12 * time.Second)
		packets, controls := p.got()
		if len(packets) < 140 || packets[0].SSRC == p.ssrc || packets[9].Payload[2] != 3 || packets[9].PayloadType != 0 {
			t.Errorf("%d packets came back, first %v", len(packets), packets[:min(1, len(packets))])
		}
		if len(controls) == 0 {
			t.Error("no RTCP came")
		}
		if len(stats) != 2 {
			t.Errorf("statistics %v", stats)
		}
		want := []string{"ConnectionStateChanged CONNECTED", "MediaSessionStarted", "MediaFlowOutStateChanged AUDIO FLOWING",
			"MediaFlowInStateChanged AUDIO FLOWING", "MediaTranscodingStateChanged AUDIO NOT_TRANSCODING", "MediaStateChanged CONNECTED",
			"MediaFlowOutStateChanged AUDIO NOT_FLOWING", "MediaFlowInStateChanged AUDIO NOT_FLOWING", "MediaStateChanged DISCONNECTED"}
		got := eventsOf(kms, endpoint)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		if state := kms.invoke(endpoint, "getConnectionState", nil); state != "CONNECTED" {
			t.Errorf("connection %v", state)
		}
	})
}

// A peer that takes a new SSRC with every packet is heard of no less, and costs
// no more, than one that keeps its own.
func TestRtpEndpointKeepsTheNewestStreams(t *testing.T) {
	inRTPBubble(t, nil, func(kms *testClient, endpoint string, p *udpPeer) {
		p.aim(kms.invoke(endpoint, "processOffer", map[string]any{"offer": rtpOffer(40000)}).(string), "audio")
		for range 10 * maxStreams {
			p.ssrc++
			p.play(1, false)
		}
		if stats := kms.invoke(endpoint, "getStats", nil).(map[string]any); len(stats) != maxStreams+1 {
			t.Errorf("%d statistics, want those of the %d newest streams and of ours", len(stats), maxStreams)
		}
		time.Sleep(6 * time.Second)
		_, controls := p.got()
		heard := slices.ContainsFunc(controls, func(c rtcp.Packet) bool {
			report, ok := c.(*rtcp.SenderReport)
			return ok && slices.ContainsFunc(report.Reports, func(r rtcp.ReceptionReport) bool { return r.SSRC == p.ssrc })
		})
		if !heard {
			t.Errorf("no report of the newest stream in %d RTCP packets", len(controls))
		}
	})
}

// TestRtpEndpointFindsItsPeer leaves it to the packets where the peer is, RTCP
// among them.
func TestRtpEndpointFindsItsPeer(t *testing.T) {
	for _, reports := range []bool{true, false} {
		inRTPBubble(t, nil, func(kms *testClient, endpoint string, p *udpPeer) {
			answer := kms.invoke(endpoint, "processOffer", map[string]any{"offer": rtpOffer(9, "a=direction:active\r\n")}).(string)
			if !strings.Contains(answer, "a=direction:passive\r\n") {
				t.Errorf("answer %s", answer)
			}
			p.aim(answer, "audio")
			p.play(50, reports)
			if packets, _ := p.got(); len(packets) > 0 != reports || len(packets) > 45 {
				t.Errorf("with reports %v %d packets came back", reports, len(packets))
			}
		})
	}
}

func TestRtpEndpointOffers(t *testing.T) {
	inRTPBubble(t, nil, func(kms *testClient, endpoint string, p *udpPeer) {
		offer := kms.invoke(endpoint, "generateOffer", nil).(string)
		p.aim(offer, "audio")
		local := kms.invoke(endpoint, "processAnswer", map[string]any{"answer": rtpOffer(40000, "m=video 0 RTP/AVP 108\r\n")})
		if local != offer {
			t.Errorf("local description %v, want the offer %v", local, offer)
		}
		p.play(50, false)
		if packets, _ := p.got(); len(packets) < 45 {
			t.Errorf("%d packets came back", len(packets))
		}
	})
}

// TestRtpEndpointWithKeys carries SRTP with the keys of the descriptions.
func TestRtpEndpointWithKeys(t *testing.T) {
	ours, theirs := strings.Repeat("k", 30), strings.Repeat("p", 30)
	args := map[string]any{"crypto": map[string]any{"crypto": "AES_128_CM_HMAC_SHA1_80", "key": ours}}
	inRTPBubble(t, args, func(kms *testClient, endpoint string, p *udpPeer) {
		context := func(key string) *srtp.Context {
			c, err := srtp.CreateContext([]byte(key[:16]), []byte(key[16:]), srtp.ProtectionProfileAes128CmHmacSha1_80)
			must(t, err)
			return c
		}
		p.in, p.out = context(ours), context(theirs)
		crypto := "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"
		offer := strings.Replace(rtpOffer(40000, crypto+base64.StdEncoding.EncodeToString([]byte(theirs))+"\r\n"), "RTP/AVP", "RTP/SAVP", 1)
		answer := kms.invoke(endpoint, "processOffer", map[string]any{"offer": offer}).(string)
		if !strings.Contains(answer, crypto+base64.StdEncoding.EncodeToString([]byte(ours))) {
			t.Errorf("answer %s", answer)
		}
		p.aim(answer, "audio")
		p.play(150, true)
		if packets, controls := p.got(); len(packets) < 140 || len(controls) == 0 {
			t.Errorf("%d packets and %d of RTCP came back", len(packets), len(controls))
		}
	})
}

func TestRtpEndpointRefusesKeysOfTheWrongSize(t *testing.T) {
	inRTPBubble(t, nil, func(kms *testClient, endpoint string, _ *udpPeer) {
		pipe := kms.create("MediaPipeline", nil)
		for _, crypto := range []map[string]any{{"crypto": "AES_128_CM_HMAC_SHA1_80", "key": "short"},
			{"crypto": "AES_256_CM_HMAC_SHA1_32", "key": strings.Repeat("k", 30)}, {"crypto": "AES_128_CM_HMAC_SHA1_32", "keyBase64": "!!!"}} {
			code, text := kms.fails("create", map[string]any{"type": "RtpEndpoint",
				"constructorParams": map[string]any{"mediaPipeline": pipe, "crypto": crypto}})
			if code != 40107 || text != "Master key size is wrong" {
				t.Errorf("%v: %d %s", crypto, code, text)
			}
		}
		kms.create("RtpEndpoint", map[string]any{"mediaPipeline": pipe, "crypto": map[string]any{"key": "short"}})
		kms.value("release", map[string]any{"object": pipe})
	})
}
