package kmsmock

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/sctp"
	"github.com/pion/webrtc/v4"
)

// A channelLog notes what happens to the data channels of a peer.
type channelLog struct {
	mu      sync.Mutex
	lines   []string
	byLabel map[string]*webrtc.DataChannel
}

func watchChannels(p *testPeer) *channelLog {
	l := &channelLog{byLabel: map[string]*webrtc.DataChannel{}}
	p.pc.OnDataChannel(func(dc *webrtc.DataChannel) {
		l.add(fmt.Sprintf("offered %s %d ordered=%v protocol=%q", dc.Label(), *dc.ID(), dc.Ordered(), dc.Protocol()))
		l.watch(dc)
	})
	return l
}

func (l *channelLog) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *channelLog) watch(dc *webrtc.DataChannel) {
	l.mu.Lock()
	l.byLabel[dc.Label()] = dc
	l.mu.Unlock()
	dc.OnMessage(func(m webrtc.DataChannelMessage) {
		l.add(fmt.Sprintf("%s got %q text=%v", dc.Label(), m.Data, m.IsString))
	})
	dc.OnClose(func() { l.add(dc.Label() + " closed") })
}

// take returns what was noted since it was last called.
func (l *channelLog) take() []string {
	synctest.Wait()
	time.Sleep(time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.lines
	l.lines = nil
	return out
}

func (l *channelLog) want(t *testing.T, what string, lines ...string) {
	t.Helper()
	if got := l.take(); !slices.Equal(got, lines) {
		t.Errorf("%s: %q, want %q", what, got, lines)
	}
}

// joinWithData makes an endpoint with data channels and lets a peer join it
// that has opened a channel named chat.
func joinWithData(t *testing.T, kms *testClient, pipe string, p *testPeer) (endpoint string, log *channelLog, chat *webrtc.DataChannel) {
	t.Helper()
	endpoint = kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe, "useDataChannels": true})
	kms.mu.Lock()
	before := kms.onEvent
	kms.onEvent = func(e testEvent) {
		if before != nil {
			before(e)
		}
		if e.object == endpoint && e.typ == "IceCandidateFound" {
			p.candidate(e)
		}
	}
	kms.mu.Unlock()
	kms.subscribe(endpoint, append([]string{"DataChannelOpened", "DataChannelClosed"}, endpointEvents...)...)
	log = watchChannels(p)
	chat, err := p.pc.CreateDataChannel("chat", nil)
	must(t, err)
	log.watch(chat)
	p.join(kms, endpoint)
	return endpoint, log, chat
}

// channelEvents are the events of an endpoint's data channels and its errors.
func channelEvents(kms *testClient, endpoint string) []string {
	var out []string
	for _, e := range kms.seen() {
		switch {
		case e.object != endpoint:
		case strings.HasPrefix(e.typ, "DataChannel"):
			out = append(out, fmt.Sprintf("%s %v", strings.TrimPrefix(e.typ, "DataChannel"), e.data["channelId"]))
		case e.typ == "Error":
			out = append(out, fmt.Sprintf("Error %v %v", e.data["errorCode"], e.data["type"]))
		}
	}
	return out
}

// TestDataChannels goes through what a real server did: one channel at a time,
// each event twice, optional arguments that count only in their order.
func TestDataChannels(t *testing.T) {
	inBubble(t, 1, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		p := peers[0]
		ep, log, chat := joinWithData(t, kms, kms.create("MediaPipeline", nil), p)
		kms.invoke(ep, "connect", map[string]any{"sink": ep})
		time.Sleep(time.Second)
		must(t, chat.SendText("hello"))
		must(t, chat.Send([]byte{1, 2}))
		log.want(t, "echo", `chat got "hello" text=true`, `chat got "\x01\x02" text=false`)

		create := func(args map[string]any) { kms.invoke(ep, "createDataChannel", args) }
		create(map[string]any{"label": "srv", "ordered": true})
		log.want(t, "a second channel", `offered srv 0 ordered=true protocol=""`, "srv closed")
		create(map[string]any{"label": "x", "maxPacketLifeTime": 10, "maxRetransmits": 3})
		log.want(t, "a gap in the arguments", `offered x 0 ordered=true protocol=""`, "x closed")
		code, text := kms.fails("invoke", map[string]any{"object": ep, "operation": "createDataChannel", "operationParams": map[string]any{
			"label": "b", "ordered": true, "maxPacketLifeTime": 10, "maxRetransmits": 3}})
		if code != 40107 || text != "Syntax error" {
			t.Errorf("two reliabilities: %d %s", code, text)
		}
		for _, number := range []int{99, -1, 0} {
			kms.invoke(ep, "closeDataChannel", map[string]any{"channelId": number})
		}
		log.want(t, "closing what is not there")
		must(t, chat.Close())
		log.want(t, "closed by the peer", "chat closed")
		create(map[string]any{"label": "srv", "ordered": false, "maxPacketLifeTime": -1, "maxRetransmits": 2, "protocol": "P"})
		log.want(t, "the only channel", `offered srv 0 ordered=false protocol="P"`)
		must(t, log.byLabel["srv"].SendText("there"))
		log.want(t, "echo over the server's", `srv got "there" text=true`)
		must(t, log.byLabel["srv"].SendText(""))
		must(t, log.byLabel["srv"].SendText("more"))
		log.want(t, "after an empty message")
		kms.invoke(ep, "closeDataChannel", map[string]any{"channelId": 0})
		log.want(t, "closed by the server", "srv closed")
		p.close()
		time.Sleep(time.Second)
		want := []string{"Opened 1", "Opened 1", "Closed 1", "Closed 1", "Opened 0", "Opened 0",
			"Error 1 STREAM_ERROR_FAILED", "Closed 0", "Closed 0", "Error 10 RESOURCE_ERROR_WRITE"}
		if got := channelEvents(kms, ep); !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}

// TestDataReachesTheOtherPeer sends through two endpoints and an element that
// lies between them.
func TestDataReachesTheOtherPeer(t *testing.T) {
	inBubble(t, 2, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		pipe := kms.create("MediaPipeline", nil)
		a, _, chatA := joinWithData(t, kms, pipe, peers[0])
		b, logB, chatB := joinWithData(t, kms, pipe, peers[1])
		between := kms.create("PassThrough", map[string]any{"mediaPipeline": pipe})
		kms.invoke(a, "connect", map[string]any{"sink": between, "mediaType": "DATA"})
		kms.invoke(between, "connect", map[string]any{"sink": b, "mediaType": "DATA"})
		time.Sleep(time.Second)
		must(t, chatA.SendText("over"))
		logB.want(t, "at the other peer", `chat got "over" text=true`)
		stats := kms.invoke(b, "getStats", nil).(map[string]any)
		var channel map[string]any
		for _, st := range stats {
			if m := st.(map[string]any); m["type"] == "datachannel" {
				channel = m
			}
		}
		if channel["messagesSent"] != 1.0 || channel["bytesSent"] != 4.0 || channel["state"] != "open" || channel["label"] != "chat" {
			t.Errorf("statistics %v", stats)
		}
		kms.invoke(a, "disconnect", map[string]any{"sink": between})
		must(t, chatA.SendText("lost"))
		must(t, chatB.SendText("back"))
		logB.want(t, "without a connection")
	})
}

// TestDataForAPeerThatDoesNotReceiveIsBounded sends it more than may wait.
func TestDataForAPeerThatDoesNotReceiveIsBounded(t *testing.T) {
	inBubble(t, 2, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		pipe := kms.create("MediaPipeline", nil)
		a, _, _ := joinWithData(t, kms, pipe, peers[0])
		b, _, _ := joinWithData(t, kms, pipe, peers[1])
		kms.invoke(a, "connect", map[string]any{"sink": b, "mediaType": "DATA"})
		time.Sleep(time.Second)
		peers[1].net.down.Store(true)
		s.mu.Lock()
		from, to := s.objects[a].impl.(*rtcEndpoint).channels, s.objects[b].impl.(*rtcEndpoint).channels.used
		s.mu.Unlock()
		message := make([]byte, maxChannelMessage)
		for range maxChannelBacklog/len(message) + 10 {
			from.received(from.used, message, sctp.PayloadTypeWebRTCBinary)
		}
		if n := to.stream.BufferedAmount(); n > maxChannelBacklog || n < maxChannelBacklog/2 {
			t.Errorf("%d bytes wait, want %d at most and not much less", n, maxChannelBacklog)
		}
		if sent, most := to.stats.messagesOut, int64(maxChannelBacklog/len(message)); sent > most {
			t.Errorf("%d messages count as sent, %d fit", sent, most)
		}
	})
}

// TestWithoutDataChannels also holds for endpoints that have no session yet.
func TestWithoutDataChannels(t *testing.T) {
	inBubble(t, 1, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		ep := kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": kms.create("MediaPipeline", nil), "useDataChannels": true})
		for op, args := range map[string]map[string]any{"createDataChannel": {"label": "a"}, "closeDataChannel": {"channelId": 1}} {
			code, text := kms.fails("invoke", map[string]any{"object": ep, "operation": op, "operationParams": args})
			if code != 40111 || text != "Data channels are not supported" {
				t.Errorf("%s: %d %s", op, code, text)
			}
		}
	})
}

// TestDataChannelsOfTheOfferer has the server offer: then the peer opens DTLS,
// and its channels have the even numbers.
func TestDataChannelsOfTheOfferer(t *testing.T) {
	inBubble(t, 1, Config{Timing: Fast}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		p := peers[0]
		ep := kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": kms.create("MediaPipeline", nil), "useDataChannels": true})
		kms.subscribe(ep, "DataChannelOpened", "DataChannelClosed", "IceCandidateFound")
		kms.mu.Lock()
		kms.onEvent = func(e testEvent) {
			if e.typ == "IceCandidateFound" {
				p.candidate(e)
			}
		}
		kms.mu.Unlock()
		kms.invoke(ep, "connect", map[string]any{"sink": ep})
		log := watchChannels(p)
		chat, err := p.pc.CreateDataChannel("chat", nil)
		must(t, err)
		log.watch(chat)
		offer := kms.invoke(ep, "generateOffer", nil).(string)
		must(t, p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}))
		answer, err := p.pc.CreateAnswer(nil)
		must(t, err)
		gathered := webrtc.GatheringCompletePromise(p.pc)
		must(t, p.pc.SetLocalDescription(answer))
		<-gathered
		p.mu.Lock()
		p.ready = true
		p.mu.Unlock()
		kms.invoke(ep, "processAnswer", map[string]any{"answer": p.pc.LocalDescription().SDP})
		kms.invoke(ep, "gatherCandidates", nil)
		time.Sleep(5 * time.Second)
		must(t, chat.SendText("hello"))
		log.want(t, "echo", `chat got "hello" text=true`)
		if got := channelEvents(kms, ep); !slices.Equal(got, []string{"Opened 0", "Opened 0"}) {
			t.Errorf("events %q", got)
		}
	})
}

func TestNumbersOfDataChannelsEnd(t *testing.T) {
	for even, last := range map[bool]uint16{true: 65534, false: 65533} {
		d := &dataSession{even: even}
		for n := last % 2; n < last; n += 2 {
			d.channels = append(d.channels, &dataChannel{number: n})
		}
		if got := d.pick(); got != last {
			t.Errorf("picked %d before the last, want %d", got, last)
		}
		d.channels = append(d.channels, &dataChannel{number: last})
		if got := d.pick(); got != last {
			t.Errorf("picked %d when all are taken, want the last, %d", got, last)
		}
	}
}
