package kurento

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"time"
)

// Defaults of Config.
const (
	// DefaultRequestTimeout bounds a call whose context has no deadline. The
	// first processOffer of a KMS process takes up to 0.4 s, everything a call
	// needs is otherwise below 0.1 s; Kurento's Java client allows 60 s.
	DefaultRequestTimeout = 10 * time.Second
	// DefaultWriteTimeout bounds the writing of one message.
	DefaultWriteTimeout = 5 * time.Second
	// DefaultReadLimit is the largest message accepted from KMS, in bytes. KMS
	// itself accepts 32,000,000.
	DefaultReadLimit = 32 << 20
	// DefaultPingInterval is the time between two WebSocket pings. KMS never
	// pings by itself.
	DefaultPingInterval = 10 * time.Second
	// DefaultPingTimeout is how long a connection may stay silent.
	DefaultPingTimeout = 20 * time.Second
)

// Config says how to reach KMS and what to tolerate. Everything but URL may be
// left at its zero value.
type Config struct {
	// URL of KMS, "ws://host:8888/kurento". KMS completes the handshake on any
	// other path too and closes the connection right after it.
	URL string
	// Dial opens the TCP connection; nil is that of net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is used for wss URLs.
	TLS *tls.Config
	// Log receives the events kms.connection, kms.request, kms.response and
	// kms.event; nil discards them.
	Log *slog.Logger
	// Observe is told of every request that was answered or given up: its
	// operation if it is an invoke, what it is for if it is a transaction of this
	// package's (createCall, createEndpoint, join, negotiate, releaseAll), its method
	// otherwise, and how long that took.
	// It returns quickly. Nil observes nothing.
	Observe func(method string, took time.Duration, err error)
	// Session is the id of a session to take over, of another process or of an
	// earlier Client. Empty begins a new one, and so does a session that KMS
	// does not know any more: compare Client.Session afterwards.
	Session string

	// RequestTimeout bounds every call whose context has no deadline of its
	// own, waiting for a connection included.
	RequestTimeout time.Duration
	// WriteTimeout bounds the writing of one message. A write that exceeds it
	// ends the connection.
	WriteTimeout time.Duration
	// ReadLimit is the largest message accepted, in bytes.
	ReadLimit int64
	// PingInterval is the time between two WebSocket pings.
	PingInterval time.Duration
	// PingTimeout ends a connection on which nothing arrived for so long, or
	// on which a request is still unanswered so long after its deadline. A
	// request that is within its deadline excuses silence: KMS answers
	// neither pings nor other requests while it works on one.
	PingTimeout time.Duration

	// Backoff returns the pause before the n-th attempt (from 1) to connect
	// again. Nil is DefaultBackoff. Attempts go on until Close.
	Backoff func(attempt int) time.Duration
	// OnLost is called when the connection is lost, before attempts to connect
	// again begin.
	OnLost func(err error)
	// OnReconnect is called when there is a connection again, before any call
	// goes out on it: what it sees of the owner's objects are those of before.
	// OnLost and OnReconnect are called in turns, by one goroutine. They must
	// return soon and must not make calls themselves, which would wait for
	// them to return.
	OnReconnect func(Reconnected)
}

// Reconnected tells the owner of a Client what survived the loss of its
// connection.
type Reconnected struct {
	// Session and Server are the ids of the session and KMS process in use now.
	Session, Server string
	// SameServer is false if KMS was restarted, or another one answers.
	SameServer bool
	// SameSession is false if the old session is gone: then its subscriptions
	// are too, and so are its objects unless another session holds them. KMS
	// also forgets a session that never touched an object.
	SameSession bool
	// Attempts is the number of attempts it took, at least 1.
	Attempts int
	// Outage is the time from the loss to the new connection.
	Outage time.Duration
}

// Resumed reports whether objects and subscriptions are still what they were.
// Events of the outage are lost all the same: KMS does not replay them.
func (r Reconnected) Resumed() bool { return r.SameServer && r.SameSession }

// DefaultBackoff doubles from 100 ms to 5 s and takes a random pause between
// half and the whole of that. A restarted KMS listens after about 120 ms.
func DefaultBackoff(attempt int) time.Duration {
	const first, last = 100 * time.Millisecond, 5 * time.Second
	pause := last
	if attempt >= 1 && attempt <= 6 { // 100 ms << 6 is beyond 5 s
		pause = first << (attempt - 1)
	}
	return pause/2 + rand.N(pause/2)
}

// validated returns the configuration with its defaults filled in.
func (cfg Config) validated() (Config, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return cfg, fmt.Errorf("kurento: URL: %w", err)
	}
	if (u.Scheme != "ws" && u.Scheme != "wss") || u.Host == "" {
		return cfg, fmt.Errorf("kurento: URL %q is not ws://host:port/kurento", u.Redacted())
	}
	if cfg.RequestTimeout < 0 || cfg.WriteTimeout < 0 || cfg.ReadLimit < 0 || cfg.PingInterval < 0 || cfg.PingTimeout < 0 {
		return cfg, errors.New("kurento: negative time-out or limit")
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Backoff == nil {
		cfg.Backoff = DefaultBackoff
	}
	setDefault(&cfg.RequestTimeout, DefaultRequestTimeout)
	setDefault(&cfg.WriteTimeout, DefaultWriteTimeout)
	setDefault(&cfg.ReadLimit, DefaultReadLimit)
	setDefault(&cfg.PingInterval, DefaultPingInterval)
	setDefault(&cfg.PingTimeout, DefaultPingTimeout)
	return cfg, nil
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
