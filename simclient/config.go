package simclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/pion/transport/v5"

	"github.com/callbench/callbench/signaling"
	"github.com/callbench/callbench/simclient/media"
)

// Config says who a client is and what it stands on. User and URL are needed;
// the zero value of everything else is a plain client on real sockets.
type Config struct {
	// User is who the client is. The server takes it from the token; the client
	// marks its media with it.
	User string
	// Device is the stable name of this device of the user.
	Device string
	// URL of the signaling server, ws:// or wss://.
	URL string
	// TLS of wss:// URLs. Nil trusts whom this machine trusts.
	TLS *tls.Config
	// Token gives a JWT for each connection, and another one before it runs out. Nil
	// sends none.
	Token func(ctx context.Context) (string, error)
	// Level of the protocol. Nil tries level 1 and falls back to level 0 if the server
	// does not know hello; 0 and 1 do not try the other one.
	Level *int
	// HelloTimeout is how long hello may stay unanswered before the client falls back.
	// Zero means 3 s.
	HelloTimeout time.Duration
	// Dial opens the connection under the WebSocket. Nil is a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Net carries ICE and media. Nil is the machine's own network.
	Net transport.Net
	// Profile is the app that the client passes for. The zero value is Electron.
	Profile Profile
	// Log gets the events. Nil discards them.
	Log *slog.Logger

	// Pacer sends the media of any number of clients. Nil makes one of the client's
	// own.
	Pacer *media.Pacer
	// Clips are what is sent: of the negotiated codecs the first one that a clip is
	// coded in. Nil means the embedded ones for VP8, H264 and Opus.
	Clips []*media.Clip
	// NoMicrophone and NoCamera: the user does not let the app capture that, and it
	// is offered to be received only.
	NoMicrophone, NoCamera bool
	// VideoFirst: the app adds its video track before its audio track, and so the
	// video section of its offers is the first one.
	VideoFirst bool
	// Silence is how long nothing good may arrive before media counts as silent. Zero
	// means media.DefaultSilentAfter.
	Silence time.Duration
	// Look is how often the client looks into the VP8 video that it receives for barcodes, which
	// name everybody in a mix; media.ClipBarcode among Clips shows one. It asks for key frames to
	// look at. Zero does not look.
	Look time.Duration

	// ManualRing leaves it to Ring to send rtc/ringing. Otherwise the client rings by
	// itself as soon as it is invited.
	ManualRing bool
	// Batch collects ICE candidates for so long and sends them in one frame. Zero
	// sends each by itself, as level 0 always does.
	Batch time.Duration
	// Interceptors are what runs between RTP and SRTP. The zero value is Lean.
	Interceptors Interceptors
	// Loopback lets ICE use loopback addresses, which it leaves out otherwise.
	Loopback bool
	// IPFilter, if set, says which local addresses ICE may use.
	IPFilter func(net.IP) bool
	// ICEServers are used where the server gives none, as one does not that speaks
	// level 0 of the protocol.
	ICEServers []signaling.ICEServer
	// Relay lets ICE use relayed candidates only, as RTCIceTransportPolicy "relay"
	// does: media goes through a TURN server or not at all.
	Relay bool

	Reconnect Reconnect
	Heartbeat Heartbeat
}

// Heartbeat is how a client finds out that its socket is dead. It also asks at
// once when ICE becomes disconnected.
type Heartbeat struct {
	Every time.Duration // between WebSocket pings; zero means 10 s
	Pong  time.Duration // how long a pong may take; zero means 2 s
}

// withDefaults checks a Config once and fills in what was left out.
func (cfg Config) withDefaults() (Config, error) {
	if err := cfg.check(); err != nil {
		return cfg, err
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Profile.Name == "" {
		cfg.Profile = Electron()
	}
	if cfg.Interceptors == "" {
		cfg.Interceptors = Lean
	}
	setDefault(&cfg.HelloTimeout, 3*time.Second)
	setDefault(&cfg.Heartbeat.Every, 10*time.Second)
	setDefault(&cfg.Heartbeat.Pong, 2*time.Second)
	cfg.Reconnect = cfg.Reconnect.withDefaults()
	return cfg.withClips()
}

func (cfg *Config) check() error {
	if cfg.User == "" || cfg.URL == "" {
		return errors.New("simclient: User and URL are needed")
	}
	if u, err := url.Parse(cfg.URL); err != nil || u.Scheme != "ws" && u.Scheme != "wss" {
		return fmt.Errorf("URL %q is not a ws:// or wss:// URL", cfg.URL)
	}
	switch cfg.Interceptors {
	case "", Lean, Reports, NACK:
	default:
		return fmt.Errorf("unknown interceptors %q", cfg.Interceptors)
	}
	if cfg.Clips != nil && len(cfg.Clips) == 0 {
		return errors.New("no clips: nothing could be sent")
	}
	if cfg.Level != nil && *cfg.Level != 0 && *cfg.Level != 1 {
		return fmt.Errorf("unknown protocol level %d", *cfg.Level)
	}
	r := cfg.Reconnect
	for _, d := range []time.Duration{cfg.Silence, cfg.Look, cfg.HelloTimeout, cfg.Batch, cfg.Heartbeat.Every, cfg.Heartbeat.Pong, r.First, r.Max, r.Attempt, r.GiveUp} {
		if d < 0 {
			return fmt.Errorf("negative duration %v", d)
		}
	}
	return nil
}

func (cfg Config) withClips() (Config, error) {
	if cfg.Clips != nil {
		return cfg, nil
	}
	for _, name := range []string{media.ClipOpus, media.ClipVP8, media.ClipH264} {
		clip, err := media.Load(name)
		if err != nil {
			return cfg, fmt.Errorf("load clips: %w", err)
		}
		cfg.Clips = append(cfg.Clips, clip)
	}
	return cfg, nil
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}
