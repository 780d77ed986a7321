package chromium

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/signaling"
	"github.com/callbench/callbench/simclient/media"
)

// endLimit is how long a tab may take to say goodbye.
const endLimit = 3 * time.Second

// Config says who a client is and what it stands on. User and URL are needed.
type Config struct {
	User, Device string
	// URL of the signaling server, ws:// or wss://.
	URL string
	// TLS of wss:// URLs; nil trusts whom this machine trusts.
	TLS *tls.Config
	// Token gives a JWT for each connection.
	Token func(ctx context.Context) (string, error)
	// Link is the client's attachment to the network. Nil is a perfect one.
	Link *netsim.Link
	// Host is the address under which the media server reaches this machine. If it is
	// empty it is the one from which the signaling server is reached.
	Host string
	// Log gets the events. Nil discards them.
	Log *slog.Logger
	// Pacer watches for silence.
	Pacer *media.Pacer
	// Relay lets ICE use relayed candidates only.
	Relay bool
	// Asks: the user has not allowed the page camera and microphone, so that Chromium
	// hides the machine's addresses behind names of multicast DNS (RFC 8828 §5.2).
	Asks bool
	// Seed of the delays before attempts to reconnect.
	Seed uint64
}

// Client is one device of one user, in a tab of its own. Its methods may be called
// from any goroutine.
type Client struct {
	cfg     Config
	browser *Browser
	log     *slog.Logger
	detour  *detour
	proof   *proof
	key     string

	tab    context.Context
	cancel context.CancelFunc
	told   chan struct{} // closed when the tab has told everything
	hear   sync.Once
	once   sync.Once

	mu      sync.Mutex
	asked   signaling.HistoryQuery // the last one, for the page behind it
	buried  bool
	streams []*websocket.Conn // on which the tab tells
	group   sync.WaitGroup    // of who reads them
}

// Client opens a tab with a client in it, which is not connected yet. The caller
// closes it.
func (b *Browser) Client(cfg Config) (*Client, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, browser: b, log: cfg.Log, told: make(chan struct{})}
	c.proof = newProof(c)
	var err error
	if c.cfg.Host == "" {
		c.cfg.Host = ownAddress(cfg.URL)
	}
	if c.detour, err = newDetour(cfg.Link, c.cfg.Host, cfg.Asks); err != nil {
		return nil, fmt.Errorf("new client %q: %w", cfg.User, err)
	}
	if err := c.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("new client %q: %w", cfg.User, err), c.Close())
	}
	return c, nil
}

// open opens the tab and makes the client in it.
func (c *Client) open() error {
	c.tab, c.cancel = chromedp.NewContext(c.browser.ctx, chromedp.WithNewBrowserContext())
	if err := chromedp.Do(c.tab); err != nil {
		return fmt.Errorf("open a tab: %w", err)
	}
	if !c.cfg.Asks {
		if err := c.permit("microphone", "camera"); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(c.tab, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(c.browser.pages.enter(c))); err != nil {
		return fmt.Errorf("open the page: %w", err)
	}
	address, err := c.detour.signaling(c.cfg.URL, c.cfg.TLS)
	if err != nil {
		return err
	}
	seed := fnv.New32a()
	fmt.Fprintf(seed, "%d\x00%s\x00%s", c.cfg.Seed, c.cfg.User, c.cfg.Device)
	c.log.Info("app.opened", "browser", c.browser.Version())
	_, err = c.evaluate(ctx, "callbench.start", map[string]any{"url": address, "device": c.cfg.Device, "relay": c.cfg.Relay, "seed": seed.Sum32()})
	return err
}

// permit allows the page what it would have to ask the user for.
func (c *Client) permit(names ...string) error {
	for _, name := range names {
		params := browser.SetPermissionParams{Permission: &browser.PermissionDescriptor{Name: name}, Setting: browser.PermissionSettingGranted,
			Origin: c.browser.pages.origin, BrowserContextID: chromedp.FromContext(c.tab).BrowserContextID}
		if _, err := chromedp.CallBrowser(c.tab, browser.SetPermission, params); err != nil {
			return fmt.Errorf("permit the %s: %w", name, err)
		}
	}
	return nil
}

// outcome is what became of a call of a method in the page.
type outcome struct {
	Value json.RawMessage `json:"value"`
	Code  string          `json:"code"`
	Error string          `json:"error"`
}

// evaluate calls a function of the page and waits for its promise.
func (c *Client) evaluate(ctx context.Context, function string, args ...any) (o outcome, err error) {
	text := ""
	for i, a := range args {
		b, err := json.Marshal(a)
		if err != nil {
			return o, fmt.Errorf("%s: %w", function, err)
		}
		if i > 0 {
			text += ","
		}
		text += string(b)
	}
	tab, cancel := context.WithCancel(c.tab)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	o, err = chromedp.Run(tab, chromedp.Evaluate[outcome]("(async () => await "+function+"("+text+") ?? {})()", chromedp.EvalAwaitPromise))
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return o, err
}

// perform calls a method of the page's client. What the server refuses is a
// *signaling.Error.
func (c *Client) perform(ctx context.Context, method string, args ...any) (json.RawMessage, error) {
	if args == nil {
		args = []any{}
	}
	o, err := c.evaluate(ctx, "callbench.perform", method, args)
	switch {
	case err != nil:
	case o.Code != "":
		err = &signaling.Error{Code: signaling.Code(o.Code), Message: o.Error}
	case o.Error != "":
		err = errors.New(o.Error)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", c.cfg.User, method, err)
	}
	return o.Value, nil
}

func (c *Client) do(ctx context.Context, method string, args ...any) error {
	_, err := c.perform(ctx, method, args...)
	return err
}

// tokenFor gives the page a token.
func (c *Client) tokenFor(r *http.Request, _ json.RawMessage) (any, error) {
	if c.cfg.Token == nil {
		return "", nil
	}
	return c.cfg.Token(r.Context())
}

// Close says goodbye and closes the tab. It returns when everything of the client
// has ended.
func (c *Client) Close() error {
	c.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), endLimit)
		defer cancel()
		if c.key != "" {
			if _, err := c.evaluate(ctx, "callbench.end"); err == nil {
				select {
				case <-c.told:
				case <-ctx.Done():
				}
			}
		}
		c.bury()
	})
	return nil
}

// Crash closes the tab without a word, as a user does, or the system that kills
// the app. Chromium then closes the WebSocket with 1001.
func (c *Client) Crash() {
	c.once.Do(func() {
		c.proof.over("")
		c.bury()
		c.log.Info("app.crashed")
	})
}

// bury ends what there is of the client on this side.
func (c *Client) bury() {
	if c.cancel != nil {
		c.cancel()
	}
	c.browser.pages.leave(c)
	c.mu.Lock()
	c.buried = true
	for _, ws := range c.streams {
		ws.Close()
	}
	c.mu.Unlock()
	c.detour.close()
	c.group.Wait()
	c.proof.over("")
}

// keep notes a stream of the tab's, unless the client has ended.
func (c *Client) keep(ws *websocket.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buried {
		return false
	}
	c.streams = append(c.streams, ws)
	c.group.Add(1)
	return true
}

// Screenshot is a PNG of what the tab shows.
func (c *Client) Screenshot() ([]byte, error) {
	ctx, cancel := context.WithTimeout(c.tab, closeLimit)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		return nil, fmt.Errorf("screenshot of %s: %w", c.cfg.User, err)
	}
	return png, nil
}
