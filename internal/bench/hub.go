package main

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/server"
)

// The times of gorilla's chat example.
const (
	hubWriteWait = 10 * time.Second
	hubPongWait  = 60 * time.Second
	hubPing      = hubPongWait * 9 / 10
)

// hub is the plain server that ours is held against: gorilla's chat example with
// users. Each connection has a goroutine that reads and one that writes, buffers
// are of the default size, and messages are decoded and encoded by encoding/json.
// It keeps nothing, numbers nothing and answers nothing.
type hub struct {
	auth     server.Auth
	upgrader websocket.Upgrader

	mu      sync.RWMutex
	clients map[string]*hubClient
}

type hubClient struct {
	hub  *hub
	ws   *websocket.Conn
	user string
	send chan []byte
}

// hubFrame is a frame of the one kind that the hub knows beside hello.
type hubFrame struct {
	Type string     `json:"type"`
	Data hubMessage `json:"data"`
}

type hubMessage struct {
	From      string `json:"from"`
	To        string `json:"to"`
	Content   string `json:"content"`
	Timestamp int64  `json:"timestamp"`
}

func newHub(auth server.Auth) *hub {
	return &hub{auth: auth, clients: make(map[string]*hubClient)}
}

// ServeHTTP makes a request a client's connection.
func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, err := h.auth(r.Context(), r.Header.Get("Authorization")[len("Bearer "):])
	if err != nil {
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	ws, err := h.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	c := &hubClient{hub: h, ws: ws, user: who.User, send: make(chan []byte, 256)}
	h.mu.Lock()
	h.clients[c.user] = c
	h.mu.Unlock()
	go c.write()
	go c.read()
}

func (c *hubClient) read() {
	defer func() {
		c.hub.mu.Lock()
		delete(c.hub.clients, c.user)
		c.hub.mu.Unlock()
		close(c.send)
	}()
	c.ws.SetReadLimit(64 << 10)
	_ = c.ws.SetReadDeadline(time.Now().Add(hubPongWait))
	c.ws.SetPongHandler(func(string) error { return c.ws.SetReadDeadline(time.Now().Add(hubPongWait)) })
	for {
		_, text, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		c.take(text)
	}
}

func (c *hubClient) take(text []byte) {
	var f hubFrame
	if json.Unmarshal(text, &f) != nil {
		return
	}
	if f.Type == "hello" {
		c.send <- []byte(`{"type":"welcome"}`)
		return
	}
	f.Data.From, f.Data.Timestamp = c.user, time.Now().UnixMilli()
	out, err := json.Marshal(f)
	if err != nil {
		return
	}
	c.hub.mu.RLock()
	defer c.hub.mu.RUnlock()
	if to := c.hub.clients[f.Data.To]; to != nil {
		select {
		case to.send <- out:
		default: // it does not read
		}
	}
}

func (c *hubClient) write() {
	ping := time.NewTicker(hubPing)
	defer ping.Stop()
	defer c.ws.Close()
	for {
		select {
		case text, ok := <-c.send:
			_ = c.ws.SetWriteDeadline(time.Now().Add(hubWriteWait))
			if !ok || c.ws.WriteMessage(websocket.TextMessage, text) != nil {
				return
			}
		case <-ping.C:
			_ = c.ws.SetWriteDeadline(time.Now().Add(hubWriteWait))
			if c.ws.WriteMessage(websocket.PingMessage, nil) != nil {
				return
			}
		}
	}
}
