package simclient

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/signaling"
	"github.com/callbench/callbench/simclient/media"
)

// Errors that a client's methods return besides the server's *signaling.Error.
var (
	ErrClosed       = errors.New("the client is closed")
	ErrConnected    = errors.New("the client is connected, or trying to be")
	ErrNotConnected = errors.New("the client is not connected")
	ErrNoCall       = errors.New("there is no such call at this client")
	ErrSessionLost  = errors.New("the session ended before the request was answered")
	ErrLevel        = errors.New("level 0 of the protocol has no words for this")
	ErrNoToken      = errors.New("there is no token: Config.Token is nil")
)

// Client is one device of one user. Its methods may be called from any
// goroutine.
type Client struct {
	cfg      Config
	log      *slog.Logger
	stack    *stack
	cert     webrtc.Certificate
	pacer    *media.Pacer
	ownPacer bool

	gate  *gate
	q     appQueue // everything below belongs to it
	group sync.WaitGroup
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	once  sync.Once

	link     link
	session  session
	requests requests
	call     *call
	life     life
	over     []endedCall // the calls that ended last
	messages messages
	muted    map[media.Kind]bool
	presence map[string]uint64 // the newest version that is known of each user's
	count    Counters
}

// New makes a client, which the caller closes.
func New(cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("new client %q: %w", cfg.User, err)
	}
	c := &Client{cfg: cfg, log: cfg.Log, pacer: cfg.Pacer, gate: new(gate)}
	c.cfg.Dial = c.gate.dial(cfg.Dial)
	if c.stack, err = newStack(&cfg, c.gate); err != nil {
		return nil, fmt.Errorf("new client %q: %w", cfg.User, err)
	}
	if c.cert, err = newCertificate(); err != nil {
		return nil, fmt.Errorf("new client %q: %w", cfg.User, err)
	}
	if c.pacer == nil {
		c.pacer, c.ownPacer = media.NewPacer(media.PacerConfig{}), true
	}
	c.link.state, c.link.level = linkIdle, c.firstLevel()
	c.presence, c.muted = make(map[string]uint64), make(map[media.Kind]bool)
	c.link.backoff = newBackoff(cfg.Reconnect, cfg.User, cfg.Device)
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c, nil
}

// newCertificate makes the client's one DTLS certificate. ECDSA P-256 is what
// browsers use, and far cheaper to make than RSA.
func newCertificate() (webrtc.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return webrtc.Certificate{}, fmt.Errorf("make DTLS key: %w", err)
	}
	cert, err := webrtc.GenerateCertificate(key)
	if err != nil {
		return webrtc.Certificate{}, fmt.Errorf("make DTLS certificate: %w", err)
	}
	return *cert, nil
}

// Connect opens the WebSocket and says hello. It returns when the server's
// welcome is there, with the server's *signaling.Error if it refused, and does
// not try again by itself. From then on the client reconnects as its policy
// says. At level 0 there is neither hello nor welcome.
func (c *Client) Connect(ctx context.Context) error {
	err := c.do(ctx, c.connect)
	if err != nil && ctx.Err() != nil {
		c.q.Do(func() { c.abandonConnect() })
	}
	return c.wrap("connect", err)
}

// Call calls a user and returns when the server has made the call, or refused
// it with an *signaling.Error.
func (c *Client) Call(ctx context.Context, target string) error {
	err := c.do(ctx, func(done func(error)) { c.startCall(target, done) })
	return c.wrap("call "+target, err)
}

// Ring tells the caller of the current incoming call that this device rings.
// Only with Config.ManualRing it has to be called.
func (c *Client) Ring(ctx context.Context) error {
	return c.wrap("ring", c.do(ctx, c.ring))
}

// Accept answers the current incoming call and returns when the server has
// acknowledged it. Media is then being set up.
func (c *Client) Accept(ctx context.Context) error {
	return c.wrap("accept", c.do(ctx, c.accept))
}

// Hangup leaves the call that the client is in: it cancels one that is not
// answered, declines an incoming one, and ends any other. It returns when the
// server has acknowledged it.
func (c *Client) Hangup(ctx context.Context) error {
	return c.wrap("hang up", c.leaveBy(ctx, signaling.ActionLeave))
}

// Reject declines the current incoming call. Like Busy and Cancel it asks the
// server even if the call is past that, and leaves it alone if the server
// refuses; at level 0 all three are rtc/leave.
func (c *Client) Reject(ctx context.Context) error {
	return c.wrap("reject", c.leaveBy(ctx, signaling.ActionReject))
}

// Busy says that this device is in a call that the server does not know of.
func (c *Client) Busy(ctx context.Context) error {
	return c.wrap("say busy", c.leaveBy(ctx, signaling.ActionBusy))
}

// Cancel takes the outgoing call back before it is answered.
func (c *Client) Cancel(ctx context.Context) error {
	return c.wrap("cancel", c.leaveBy(ctx, signaling.ActionCancel))
}

func (c *Client) leaveBy(ctx context.Context, action signaling.Action) error {
	return c.do(ctx, func(done func(error)) { c.quit(action, done) })
}

// Request sends any frame as a request and returns the acknowledgement, or the
// *signaling.Error that came instead. It goes around the state machine of the
// call; data is what signaling.New takes.
func (c *Client) Request(ctx context.Context, t signaling.Type, action signaling.Action, data any) (signaling.Frame, error) {
	var ack signaling.Frame
	err := c.do(ctx, func(done func(error)) {
		c.request(&request{done: func(f signaling.Frame, err error) {
			ack = f
			done(err)
		}}, t, action, data)
	})
	if err != nil { // ack may still be written if it was ctx that ended
		return signaling.Frame{}, c.wrap("request "+string(t)+"/"+string(action), err)
	}
	return ack, nil
}

// Send puts raw bytes on the WebSocket as one text message, whatever they are.
// Answers show in the log only.
func (c *Client) Send(raw []byte) error { return c.sendRaw("raw", raw, (*socket).send) }

// SendBinary puts raw bytes on the WebSocket as one binary message, which the
// protocol has no use for.
func (c *Client) SendBinary(raw []byte) error { return c.sendRaw("binary", raw, (*socket).sendBinary) }

func (c *Client) sendRaw(kind signaling.Type, raw []byte, send func(*socket, []byte)) error {
	err := c.do(c.ctx, func(done func(error)) {
		if c.link.state != linkUp {
			done(ErrNotConnected)
			return
		}
		c.logSent(signaling.Frame{Type: kind}, len(raw), false)
		send(c.link.sock, raw)
		done(nil)
	})
	return c.wrap("send", err)
}

// Drop cuts the WebSocket without a close frame, as a network that goes away
// does. The client then reconnects as its policy says.
func (c *Client) Drop() {
	c.q.now(func() {
		if c.link.sock != nil {
			c.link.sock.kill(causeDropped)
		}
	})
}

// Close ends the client as a killed app ends: it says nothing about its call.
// It returns after the PeerConnection and every goroutine of the client have
// ended.
func (c *Client) Close() error {
	c.end(c.shutdown)
	return nil
}

// Crash ends the client as Close does, but without a word to the server: its
// connection is cut off, as that of an app is that the system kills.
func (c *Client) Crash() {
	c.end(func() {
		if c.call != nil {
			c.stopMedia(c.call)
		}
		c.cutLink()
		c.rouse()
		c.event(eventCrashed)
	})
}

// end runs the last function of the client's queue and waits for all that is
// left.
func (c *Client) end(last func()) {
	c.once.Do(func() {
		c.q.now(last)
		c.stop()
		// Everything that the group runs was started on the queue before shutdown.
		drained := make(chan struct{})
		c.q.now(func() { close(drained) })
		<-drained
		c.group.Wait()
		c.q.run.Close()
		if c.ownPacer {
			c.pacer.Close()
		}
	})
}

func (c *Client) shutdown() {
	if c.call != nil {
		c.stopMedia(c.call)
	}
	c.closeLink()
	c.rouse()
}

func (c *Client) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s: %w", c.cfg.User, doing, err)
}

// event logs an event of no call.
func (c *Client) event(kind string, attrs ...slog.Attr) {
	c.log.LogAttrs(c.ctx, slog.LevelInfo, kind, attrs...)
}

// failure logs that something on this side went wrong.
func (c *Client) failure(call *call, doing string, err error) {
	c.callEvent(call, eventFailure, slog.String("doing", doing), slog.String("error", err.Error()))
}

// violation logs that the server did what the protocol does not allow.
func (c *Client) violation(call *call, what string, attrs ...slog.Attr) {
	c.count.Violations++
	c.callEvent(call, eventViolation, append([]slog.Attr{slog.String("what", what)}, attrs...)...)
}

// callEvent logs an event that belongs to a call, if there is one.
func (c *Client) callEvent(call *call, kind string, attrs ...slog.Attr) {
	c.callLog(slog.LevelInfo, call, kind, attrs...)
}

func (c *Client) callLog(level slog.Level, call *call, kind string, attrs ...slog.Attr) {
	if !c.log.Enabled(c.ctx, level) {
		return
	}
	if call != nil && call.name() != "" {
		attrs = append([]slog.Attr{slog.String("call", call.name())}, attrs...)
	}
	c.log.LogAttrs(c.ctx, level, kind, attrs...)
}
