// Package record stands between clients and a Kurento Media Server, passes
// everything on byte for byte and writes what went over the websockets as a
// transcript, which kmsmock/conform replays.
//
// It is a tunnel that reads along: what a side sends is first noted and then
// written to the other side, in the chunks in which it came, so that masking
// keys, fragments, odd frames and ends without a close frame arrive as they
// were sent. Headers are the client's own, Host among them.
package record

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// Config is what a Proxy needs to know.
type Config struct {
	// Target is the server's URL, ws://host:port/kurento or wss://…. Clients say
	// path and query themselves.
	Target string
	// Name is the case's name in the transcript's first line.
	Name string
	// Mask replaces secrets, see masks.
	Mask bool
	// Out is given the transcript, one Write a line.
	Out io.Writer
	// Dial opens connections to the server; nil is TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Log is told of connections and of what could not be written.
	Log *slog.Logger
}

// dialTime is how long the server may take to accept a connection.
const dialTime = 10 * time.Second

// A Proxy records all connections that it is given into one transcript.
type Proxy struct {
	cfg     Config
	target  *url.URL
	journal *journal

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // of connections

	mu     sync.Mutex
	open   map[io.Closer]struct{} // listeners and connections
	named  int
	closed bool
}

// New begins a transcript. Close ends it.
func New(cfg Config) (*Proxy, error) {
	target, err := url.Parse(cfg.Target)
	if err != nil {
		return nil, fmt.Errorf("record: the server's URL: %w", err)
	}
	if (target.Scheme != "ws" && target.Scheme != "wss") || target.Host == "" {
		return nil, fmt.Errorf("record: the server's URL is %q, want ws://host:port/kurento", cfg.Target)
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{cfg: cfg, target: target, journal: newJournal(cfg), open: map[io.Closer]struct{}{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	now := time.Now()
	p.journal.note(now, transcript.Line{Note: fmt.Sprintf("case %s started %s against %s", cfg.Name, now.UTC().Format(time.RFC3339), target.Redacted())})
	p.journal.note(now, transcript.Line{Note: transcript.PeersUnseen})
	if cfg.Mask {
		p.journal.note(now, transcript.Line{Note: "masked"})
	}
	return p, nil
}

// Serve takes clients in until Close, which makes it return nil.
func (p *Proxy) Serve(l net.Listener) error {
	if !p.hold(l) {
		return nil
	}
	defer p.release(l)
	for {
		c, err := l.Accept()
		if err != nil {
			if p.ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("record: accept: %w", err)
		}
		if !p.admit(c) {
			return nil
		}
	}
}

// admit serves a client unless the proxy is closed.
func (p *Proxy) admit(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return false
	}
	p.open[c] = struct{}{}
	p.wg.Go(func() {
		defer p.release(c)
		p.serve(c)
	})
	return true
}

// Close ends all connections and completes the transcript. It returns the first
// error of writing it.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.cancel()
	for c := range p.open {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return p.journal.close()
}

// hold keeps a listener or connection for Close; once closed it closes it at once.
func (p *Proxy) hold(c io.Closer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return false
	}
	p.open[c] = struct{}{}
	return true
}

func (p *Proxy) release(c io.Closer) {
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
	_ = c.Close()
}

// serve opens a connection to the server for each of a client.
func (p *Proxy) serve(client net.Conn) {
	server, err := p.dial()
	if err != nil {
		if p.ctx.Err() == nil {
			p.cfg.Log.Warn("record.dial", "err", err)
			p.journal.note(time.Now(), transcript.Line{Note: "the server cannot be reached: " + cause(err).Error(), URL: p.target.Redacted()})
		}
		reset(client)
		return
	}
	if !p.hold(server) {
		return
	}
	defer p.release(server)
	newSession(p, client, server).run()
}

func (p *Proxy) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(p.ctx, dialTime)
	defer cancel()
	address := p.target.Host
	if p.target.Port() == "" {
		address = net.JoinHostPort(p.target.Hostname(), map[string]string{"ws": "80", "wss": "443"}[p.target.Scheme])
	}
	c, err := p.cfg.Dial(ctx, "tcp", address)
	if err != nil || p.target.Scheme == "ws" {
		return c, err
	}
	secure := tls.Client(c, &tls.Config{ServerName: p.target.Hostname(), NextProtos: []string{"http/1.1"}})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return secure, nil
}

// name is that of the next websocket: A to Z, then AA.
func (p *Proxy) name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.named++
	name := ""
	for n := p.named; n > 0; n = (n - 1) / 26 {
		name = string(rune('A'+(n-1)%26)) + name
	}
	return name
}

// cause is the innermost of the errors of a connection: addresses stay out of
// the transcript.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// reset ends a TCP connection as a process that dies does.
func reset(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
