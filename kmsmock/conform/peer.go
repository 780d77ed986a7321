package conform

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/pion/webrtc/v4/pkg/media/ivfreader"
	"github.com/pion/webrtc/v4/pkg/media/oggreader"
)

// Two seconds of real media: what a server records or mixes must decode.
var (
	//go:embed media/clip.ivf
	videoClip []byte
	//go:embed media/clip.ogg
	audioClip []byte
)

// how is how a recorded peer reached the server.
type how struct{ relay, tcp bool }

// A peer is a live Pion peer in the place of a recorded one.
type peer struct {
	name    string
	browser bool // of the recording
	tcp     bool // reached over TCP only
	relay   bool // reached through a TURN server only
	deaf    bool // does not take the server's answer
	pc      *webrtc.PeerConnection
	net     *switchNet
	first   chan struct{} // closed once it has a candidate, or will have none
	tracks  map[string]*webrtc.TrackLocalStaticSample
	stops   map[string]func() // end what it sends, by medium
	wg      sync.WaitGroup

	wantKey  atomic.Bool
	started  sync.Once // of first
	mu       sync.Mutex
	channel  *webrtc.DataChannel
	opened   chan struct{}
	messages chan string
	channels chan string // labels of those that the server opened
	queued   []webrtc.ICECandidateInit
	answered bool
	own      []string      // its candidates, in their order
	more     chan struct{} // closed when there is another
	used     int           // of them, in requests
}

// newPeer makes a peer like the one that made the recorded offer.
func (p *player) newPeer(name, offer string) (*peer, error) {
	x := &peer{name: name, browser: p.isBrowser(name), first: make(chan struct{}), more: make(chan struct{}), tracks: map[string]*webrtc.TrackLocalStaticSample{}, stops: map[string]func(){},
		opened: make(chan struct{}), messages: make(chan string, 64), channels: make(chan string, 64)}
	reached := p.howReached(name)
	x.tcp, x.relay = reached.tcp, reached.relay
	se, err := p.settings(x, reached)
	if err != nil {
		return nil, err
	}
	parts := sections(offer)
	me, reg := &webrtc.MediaEngine{}, &interceptor.Registry{}
	for _, s := range parts {
		for _, c := range s.codecs {
			if err := me.RegisterCodec(c, webrtc.NewRTPCodecType(s.kind)); err != nil {
				return nil, err
			}
		}
	}
	if x.browser {
		reg.Add(&reticence{})
	}
	if err := webrtc.ConfigureRTCPReports(reg); err != nil {
		return nil, err
	}
	cfg := webrtc.Configuration{}
	if reached.relay {
		cfg.ICETransportPolicy = webrtc.ICETransportPolicyRelay
		cfg.ICEServers = []webrtc.ICEServer{*p.target.turn}
	}
	api := webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(reg))
	if x.pc, err = api.NewPeerConnection(cfg); err != nil {
		return nil, err
	}
	x.listen()
	for _, s := range parts {
		if err := x.add(s); err != nil {
			x.close()
			return nil, fmt.Errorf("add %s: %w", s.kind, err)
		}
	}
	return x, nil
}

// howReached tells from the candidates that the recorded peer gave.
func (p *player) howReached(name string) how {
	relay, tcp, other := false, false, false
	for i := range p.lines {
		l := &p.lines[i]
		if l.Peer != name || l.Note != "peer local candidate" {
			continue
		}
		text := l.CandidateText()
		switch {
		case strings.Contains(text, " typ relay"):
			relay = true
		case strings.Contains(strings.ToLower(text), " tcp "):
			tcp = true
		default:
			other = true
		}
	}
	return how{relay: relay && !other, tcp: tcp && !other && !relay}
}

func (p *player) settings(x *peer, reached how) (webrtc.SettingEngine, error) {
	se := webrtc.SettingEngine{LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}}
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.SetSDPMediaLevelFingerprints(true)
	var n transport.Net
	if p.target.PeerNet != nil && !reached.tcp {
		n = p.target.PeerNet()
	} else {
		std, err := stdnet.NewNet()
		if err != nil {
			return se, err
		}
		n = std
		se.SetIncludeLoopbackCandidate(true)
		se.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	}
	x.net = &switchNet{Net: n}
	se.SetNet(x.net)
	if reached.tcp {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return se, err
		}
		se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
		se.SetICETCPMux(webrtc.NewICETCPMux(nil, l, 16))
	}
	return se, nil
}

// add gives the peer a section of the recorded offer.
func (x *peer) add(s section) error {
	if s.kind == "application" {
		dc, err := x.pc.CreateDataChannel("chat", nil)
		if err != nil {
			return err
		}
		x.channel = dc
		dc.OnOpen(func() { close(x.opened) })
		dc.OnMessage(func(m webrtc.DataChannelMessage) { x.messages <- string(m.Data) })
		return nil
	}
	if len(s.codecs) == 0 {
		return fmt.Errorf("no codec is known")
	}
	init := webrtc.RTPTransceiverInit{Direction: s.direction}
	if s.direction == webrtc.RTPTransceiverDirectionRecvonly || s.direction == webrtc.RTPTransceiverDirectionInactive {
		_, err := x.pc.AddTransceiverFromKind(webrtc.NewRTPCodecType(s.kind), init)
		return err
	}
	track, err := webrtc.NewTrackLocalStaticSample(s.codecs[0].RTPCodecCapability, s.kind, x.name)
	if err != nil {
		return err
	}
	x.tracks[s.kind] = track
	t, err := x.pc.AddTransceiverFromTrack(track, init)
	if err != nil {
		return err
	}
	x.wg.Go(func() { x.feedback(t.Sender()) })
	return nil
}

func (x *peer) listen() {
	x.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		x.wg.Go(func() {
			b := make([]byte, 2048)
			for {
				if _, _, err := track.Read(b); err != nil {
					return
				}
			}
		})
	})
	x.pc.OnDataChannel(func(dc *webrtc.DataChannel) { x.channels <- dc.Label() })
	x.pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if c != nil {
			x.own = append(x.own, c.ToJSON().Candidate)
			close(x.more)
			x.more = make(chan struct{})
		}
		if c == nil || len(x.own) == 1 {
			x.started.Do(func() { close(x.first) })
		}
	})
}

// feedback answers requests for key frames.
func (x *peer) feedback(sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, packet := range packets {
			switch packet.(type) {
			case *rtcp.FullIntraRequest, *rtcp.PictureLossIndication:
				x.wantKey.Store(true)
			}
		}
	}
}

// offer makes the peer's own offer and begins to look for candidates.
func (x *peer) offer() (string, error) {
	offer, err := x.pc.CreateOffer(nil)
	if err == nil {
		err = x.pc.SetLocalDescription(offer)
	}
	return offer.SDP, err
}

// another is closed when the peer has another candidate than those used, nil if
// it has one now.
func (x *peer) another() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.own) > x.used {
		return nil
	}
	return x.more
}

// candidate is the next candidate of the peer's own, or one again if it has no
// more; "" if it has none.
func (x *peer) candidate() string {
	<-x.first
	patience := time.After(candidateTime)
	for waiting := true; waiting; {
		more := x.another()
		if more == nil {
			break
		}
		select {
		case <-more:
		case <-patience:
			waiting = false
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.own) == 0 {
		return ""
	}
	x.used++
	return x.own[(x.used-1)%len(x.own)]
}

// candidateTime is how long a peer may take to find another candidate.
const candidateTime = 100 * time.Millisecond

// answer takes the server's offer and makes the peer's own answer.
func (x *peer) answer(offer string) (string, error) {
	if err := x.accept(webrtc.SDPTypeOffer, offer); err != nil {
		return "", err
	}
	answer, err := x.pc.CreateAnswer(nil)
	if err == nil {
		err = x.pc.SetLocalDescription(answer)
	}
	return answer.SDP, err
}

// accept takes the server's description.
func (x *peer) accept(kind webrtc.SDPType, sdp string) error {
	if err := x.pc.SetRemoteDescription(webrtc.SessionDescription{Type: kind, SDP: sdp}); err != nil {
		return err
	}
	x.mu.Lock()
	x.answered = true
	queued := x.queued
	x.mu.Unlock()
	for _, c := range queued {
		_ = x.pc.AddICECandidate(c)
	}
	return nil
}

// trickle takes a candidate of the server.
func (x *peer) trickle(c webrtc.ICECandidateInit) {
	x.mu.Lock()
	answered := x.answered
	if !answered {
		x.queued = append(x.queued, c)
	}
	x.mu.Unlock()
	if answered {
		_ = x.pc.AddICECandidate(c)
	}
}

// echo sends a message over the data channel and waits until it comes back.
func (x *peer) echo(text string) error {
	if x.channel == nil {
		return errors.New("the peer has no data channel")
	}
	timeout := time.After(5 * time.Second)
	select {
	case <-x.opened:
	case <-timeout:
		return errors.New("the channel does not open")
	}
	if err := x.channel.SendText(text); err != nil {
		return err
	}
	select {
	case got := <-x.messages:
		if got != text {
			return fmt.Errorf("%q came back", got)
		}
	case <-timeout:
		return errors.New("it does not come back")
	}
	return nil
}

// isGiven waits until the server opens a data channel.
func (x *peer) isGiven(label string) error {
	select {
	case got := <-x.channels:
		if got != label {
			return fmt.Errorf("it is called %q", got)
		}
		return nil
	case <-time.After(5 * time.Second):
		return errors.New("it does not come")
	}
}

// play sends the clips in a loop: those of the given media, or all.
func (x *peer) play(media ...string) {
	if track := x.silent("audio", webrtc.MimeTypeOpus, media); track != nil {
		units := audioUnits()
		x.every(20*time.Millisecond, track, func(n int) []byte { return units[n%len(units)] })
	}
	if track := x.silent("video", webrtc.MimeTypeVP8, media); track != nil {
		units := videoUnits()
		at := 0
		x.every(time.Second/30, track, func(int) []byte {
			if x.wantKey.Swap(false) {
				at = 0 // the clip begins with a key frame
			}
			at++
			return units[(at-1)%len(units)]
		})
	}
}

// silent is the track of a medium if it is one of those wanted, is not being
// played, and there is a clip for its codec.
func (x *peer) silent(medium, codec string, wanted []string) *webrtc.TrackLocalStaticSample {
	track := x.tracks[medium]
	if track == nil || x.stops[medium] != nil || !strings.EqualFold(track.Codec().MimeType, codec) || len(wanted) > 0 && !slices.Contains(wanted, medium) {
		return nil
	}
	return track
}

// every sends a unit of a track each period, until pause.
func (x *peer) every(period time.Duration, track *webrtc.TrackLocalStaticSample, unit func(int) []byte) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	x.stops[track.Kind().String()] = func() { close(stop); <-stopped }
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(period)
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-ticker.C:
				_ = track.WriteSample(media.Sample{Data: unit(n), Duration: period})
			}
		}
	}()
}

// audioUnits are the packets of the audio clip.
var audioUnits = sync.OnceValue(func() [][]byte {
	r, _, err := oggreader.NewWith(bytes.NewReader(audioClip))
	if err != nil {
		panic(err) // embedded
	}
	var out [][]byte
	for {
		page, _, err := r.ParseNextPage()
		if err != nil {
			return out
		}
		if !bytes.HasPrefix(page, []byte("OpusTags")) {
			out = append(out, page)
		}
	}
})

// videoUnits are the frames of the video clip.
var videoUnits = sync.OnceValue(func() [][]byte {
	r, _, err := ivfreader.NewWith(bytes.NewReader(videoClip))
	if err != nil {
		panic(err) // embedded
	}
	var out [][]byte
	for {
		frame, _, err := r.ParseNextFrame()
		if err != nil {
			return out
		}
		out = append(out, frame)
	}
})

// pause ends what play began: of the given media, or all.
func (x *peer) pause(media ...string) {
	for _, medium := range []string{"audio", "video"} {
		if stop := x.stops[medium]; stop != nil && (len(media) == 0 || slices.Contains(media, medium)) {
			stop()
			delete(x.stops, medium)
		}
	}
}

// vanish takes the peer off the network without a word.
func (x *peer) vanish() {
	x.net.down.Store(true)
	x.pause()
}

// hangUp closes the peer, which takes longer than the recording waited.
func (x *peer) hangUp() {
	x.pause()
	x.wg.Go(func() { _ = x.pc.Close() })
}

func (x *peer) closeChannel() {
	if x.channel != nil {
		_ = x.channel.Close()
	}
}

func (x *peer) close() {
	x.pause()
	_ = x.pc.GracefulClose()
	x.wg.Wait()
}
