package world

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
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

// Screens implements scenarios.Witness.
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
	return errors.Join(t.browser.Close())
}

// tab makes a client that is a real browser, on its attachment to the network.
func (y *system) tab(c scenarios.Client, log *trace.Log, url string, link *netsim.Link) (scenarios.Caller, error) {
	y.know(c.User, log)
	return y.tabs.add(c.Name, chromium.Config{User: c.User, Device: c.Device, URL: url, Link: link, Relay: c.Has("relay"), Asks: c.Has("mdns"),
		Token: func(context.Context) (string, error) { return y.token(c) }, Log: slog.New(trace.Handler(log, c.Name)), Pacer: y.pacer})
}

// Screens implements scenarios.Witness.
func (y *system) Screens() map[string][]byte { return y.tabs.screens() }
