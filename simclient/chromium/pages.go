package chromium

import (
	"crypto/rand"
	"embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/simclient/media"
	"github.com/callbench/callbench/simclient/web"
)

//go:embed page/*.html page/*.js
var pageFiles embed.FS

// pages serves the tabs of one browser: their files, what they ask, and what they
// tell.
type pages struct {
	web    *http.Server
	origin string
	sound  []byte
	group  sync.WaitGroup

	mu      sync.Mutex
	clients map[string]*Client // by a key that nobody can guess
}

// newPages serves on a port of loopback.
func newPages() (*pages, error) {
	sound, err := soundOf(media.ClipOpus)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for Chromium's pages: %w", err)
	}
	p := &pages{origin: "http://" + ln.Addr().String(), sound: sound, clients: map[string]*Client{}}
	mux := http.NewServeMux()
	mux.Handle("GET /page/", http.FileServerFS(pageFiles))
	mux.Handle("GET /web/", http.StripPrefix("/web/", http.FileServerFS(web.Files)))
	mux.HandleFunc("GET /page/sound", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(p.sound) })
	mux.HandleFunc("POST /page/token", p.answer((*Client).tokenFor))
	mux.HandleFunc("POST /page/servers", p.answer((*Client).serversFor))
	mux.HandleFunc("POST /page/candidate", p.answer((*Client).candidateFor))
	mux.HandleFunc("GET /page/events", p.stream((*Client).readEvents))
	mux.HandleFunc("GET /page/units", p.stream((*Client).readUnits))
	p.web = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	p.group.Go(func() { _ = p.web.Serve(ln) }) // it ends with close
	return p, nil
}

// soundOf is a clip's packets, each behind its length.
func soundOf(clip string) ([]byte, error) {
	c, err := media.Load(clip)
	if err != nil {
		return nil, fmt.Errorf("load clip: %w", err)
	}
	var b []byte
	for i := range c.Len() {
		packet, _ := c.Unit(i)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(packet))), packet...)
	}
	return b, nil
}

// enter lets a client's tab in, and returns the address of its page.
func (p *pages) enter(c *Client) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.key = rand.Text()
	p.clients[c.key] = c
	return p.origin + "/page/index.html?" + url.Values{"client": {c.key}, "user": {c.cfg.User}}.Encode()
}

func (p *pages) leave(c *Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.clients, c.key)
}

func (p *pages) client(r *http.Request) *Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clients[r.URL.Query().Get("client")]
}

// answer serves a question of a tab's, in JSON both ways.
func (p *pages) answer(to func(*Client, *http.Request, json.RawMessage) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := p.client(r)
		if c == nil {
			http.Error(w, "no such client", http.StatusForbidden)
			return
		}
		var question json.RawMessage
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&question)
		var value any
		if err == nil {
			value, err = to(c, r, question)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(value) // a tab that is gone does not care
	}
}

// stream serves a WebSocket on which a tab tells something.
func (p *pages) stream(read func(*Client, *websocket.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := p.client(r)
		if c == nil {
			http.Error(w, "no such client", http.StatusForbidden)
			return
		}
		up := websocket.Upgrader{}
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		defer ws.Close()
		if !c.keep(ws) {
			return
		}
		defer c.group.Done()
		read(c, ws)
	}
}

func (p *pages) close() error {
	err := p.web.Close()
	p.group.Wait()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("stop serving Chromium's pages: %w", err)
	}
	return nil
}
