// Package push tells a webhook of calls to users that are not connected, so that
// it can wake their devices.
package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// Config says where the webhook is and how patient the server is with it. URL
// and Secret must be set; every other zero value stands for the default that its
// comment names.
type Config struct {
	URL    string // http or https; never logged beyond its host
	Secret string // signs the requests; see NewSigner
	Log    *slog.Logger

	Timeout  time.Duration // for one attempt; 5 s
	Backoff  time.Duration // before the second attempt, doubled for each further one up to 32 times; 250 ms
	InFlight int           // attempts at a time; 64
	// Dial makes the connections, as net.Dialer.DialContext, which is the default.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// host is the URL's. An error does not tell the URL, which may hold a secret.
func (c Config) host() (string, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", errors.New("push: the URL must be http://… or https://…")
	}
	return u.Host, nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Timeout < 0 || c.Backoff < 0 || c.InFlight < 0 {
		return c, errors.New("push: a limit is negative")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Backoff == 0 {
		c.Backoff = 250 * time.Millisecond
	}
	if c.InFlight == 0 {
		c.InFlight = 64
	}
	return c, nil
}

// Webhook is a server.Push that posts each notification to a URL, where the
// product knows the devices of its users and how to wake them.
type Webhook struct {
	cfg    Config
	host   string
	signer *Signer
	client *http.Client
	slots  chan struct{} // one for each attempt under way
}

// New makes a webhook. It lives until Close.
func New(cfg Config) (*Webhook, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	host, err := cfg.host()
	if err != nil {
		return nil, err
	}
	signer, err := NewSigner(cfg.Secret)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = cfg.InFlight
	if cfg.Dial != nil {
		transport.Proxy, transport.DialContext = nil, cfg.Dial
	}
	return &Webhook{cfg: cfg, host: host, signer: signer, slots: make(chan struct{}, cfg.InFlight),
		client: &http.Client{Transport: transport, Timeout: cfg.Timeout, CheckRedirect: refuse}}, nil
}

// refuse follows no redirect: the secret's signatures are for one address only.
func refuse(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Host is where the webhook is. The rest of its URL is nobody's business.
func (w *Webhook) Host() string { return w.host }

// Close gives up the connections that are kept for the next notification.
func (w *Webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

// payload is the body of a request. Expire is how many seconds the call rings
// still, in the attempt that carries it.
type payload struct {
	Type   server.NotificationType `json:"type"`
	CallID string                  `json:"callId"`
	RoomID string                  `json:"roomId"`
	From   string                  `json:"from"`
	To     string                  `json:"to"`
	Expire int                     `json:"expire"`
	Reason signaling.Reason        `json:"reason,omitempty"`
}

// Notify implements server.Push: it tries until the webhook takes the
// notification, refuses it for good, or the context or the call's time to ring
// ends.
func (w *Webhook) Notify(ctx context.Context, n server.Notification) error {
	ctx, cancel := context.WithDeadline(ctx, n.Expires)
	defer cancel()
	for attempt := 1; ; attempt++ {
		wait, err := w.attempt(ctx, n)
		if err == nil {
			return nil
		}
		w.cfg.Log.Warn("push.failed", "call", n.CallID, "user", n.To, "type", string(n.Type), "attempt", attempt, "error", err.Error())
		if wait == never {
			return fmt.Errorf("notify webhook: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("notify webhook: %w", errors.Join(err, ctx.Err()))
		case <-time.After(max(wait, w.pause(n.CallID, attempt))):
		}
	}
}

// never says that another attempt would be of no use.
const never time.Duration = -1

// attempt posts the notification once. With an error comes how long the webhook
// wants to be left in peace: zero if it did not say, never if for good.
func (w *Webhook) attempt(ctx context.Context, n server.Notification) (wait time.Duration, err error) {
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	req, err := w.request(ctx, n)
	if err != nil {
		return never, err
	}
	answer, err := w.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL
		}
		return 0, err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 4<<10)) // so that the connection can be used again
	return verdict(answer)
}

func (w *Webhook) request(ctx context.Context, n server.Notification) (*http.Request, error) {
	left := int((time.Until(n.Expires) + time.Second - 1) / time.Second)
	body, err := json.Marshal(payload{n.Type, n.CallID, n.RoomID, n.From, n.To, left, n.Reason})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL cannot be asked")
	}
	req.Header.Set("Content-Type", "application/json")
	w.signer.Sign(req.Header, n.CallID+"."+string(n.Type), time.Now(), body)
	return req, nil
}

// verdict is what an answer means. Whatever is not named here would be answered
// in the same way again.
func verdict(answer *http.Response) (wait time.Duration, err error) {
	code := answer.StatusCode
	err = fmt.Errorf("the webhook answered %d", code)
	switch {
	case code >= 200 && code < 300:
		return 0, nil
	case code == http.StatusGone:
		return never, server.ErrPushGone
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code == http.StatusTooEarly:
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		return time.Duration(max(0, seconds)) * time.Second, err
	}
	return never, err
}

// pause is how long to wait after an attempt: Backoff, doubled each time, and up
// to half as much more, so that the calls that failed together do not come back
// together. The same call waits as long in every run.
func (w *Webhook) pause(callID string, attempt int) time.Duration {
	d := w.cfg.Backoff << min(attempt-1, 5)
	h := uint32(2166136261) // FNV-1a
	for _, b := range []byte(callID) {
		h = (h ^ uint32(b)) * 16777619
	}
	return d + d*time.Duration(h%1024)/2048
}
