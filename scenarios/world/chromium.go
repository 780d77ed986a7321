package world

import (
	"log/slog"
	"sync"
	"time"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/simclient"
	"github.com/callbench/callbench/simclient/chromium"
)

// lookEvery is how often a client looks at the pictures of another one that is a
// browser.
const lookEvery = time.Second

// noChromium says why there is no browser, "" if there is one.
func noChromium() string {
	if _, err := chromium.Find(); err != nil {
		return err.Error()
	}
	return ""
}

// tabs are the clients of a world that are real browsers: tabs of one Chromium,
// which is started for the first of them. The zero value has none.
type tabs struct {
	mu      sync.Mutex
	browser *chromium.Browser
	open    map[string]*chromium.Client // by the clients' names, the newest of each
}

// add opens a tab.
func (t *tabs) add(name string, cfg chromium.Config) (*chromium.Client, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.browser == nil {
		b, err := chromium.Start()
		if err != nil {
			return nil, err
		}
		t.browser, t.open = b, map[string]*chromium.Client{}
	}
	c, err := t.browser.Client(cfg)
	if err == nil {
		t.open[name] = c
	}
	return c, err
}

// screens are images of what the tabs show, by the clients' names.
func (t *tabs) screens() map[string][]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := map[string][]byte{}
	for name, c := range t.open {
		if png, err := c.Screenshot(); err == nil { // else the tab is gone, which shows nothing
			all[name] = png
		}
	}
	return all
}

func (t *tabs) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.browser == nil {
		return nil
	}
	b := t.browser
	t.browser = nil
	return b.Close()
}

// tab makes a client of the scenario that is a real browser, on its attachment to
// the network. What stands in cfg is of its world.
func (w *crew) tab(c scenarios.Client, log *trace.Log, link *netsim.Link, cfg simclient.Config) (scenarios.Caller, error) {
	return w.tabs.add(c.Name, chromium.Config{User: c.User, Device: c.Device, URL: cfg.URL, TLS: cfg.TLS, Token: cfg.Token, Link: link,
		Relay: c.Has("relay"), Asks: c.Has("mdns"), Log: slog.New(trace.Handler(log, c.Name)), Pacer: w.pacer})
}

func (w *crew) closeTabs() error {
	if w == nil {
		return nil
	}
	return w.tabs.close()
}

// Screens implements scenarios.Witness.
func (y *system) Screens() map[string][]byte { return y.crew.tabs.screens() }

// Screens implements scenarios.Witness.
func (r *Remote) Screens() map[string][]byte { return r.crew.tabs.screens() }
