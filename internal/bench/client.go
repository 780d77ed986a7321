package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"
)

// token proves who a user is for the length of a run.
func token(user string) (string, error) {
	claims := jwt.RegisteredClaims{Subject: user, ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
}

// enter connects a user and returns when it is welcome.
func (p *process) enter(ctx context.Context, user string) (*websocket.Conn, error) {
	tok, err := token(user)
	if err != nil {
		return nil, err
	}
	d := websocket.Dialer{ReadBufferSize: 1024, WriteBufferSize: 1024, WriteBufferPool: &buffers}
	ws, resp, err := d.DialContext(ctx, "ws://"+p.addr+"/ws", http.Header{"Authorization": {"Bearer " + tok}})
	if err != nil {
		if resp != nil {
			err = fmt.Errorf("%w: %s", err, resp.Status)
		}
		return nil, err
	}
	_ = resp.Body.Close()
	if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"hello","id":"1","data":{"version":1}}`)); err != nil {
		return nil, err
	}
	_, text, err := ws.ReadMessage()
	if err == nil && len(text) < len(`{"type":"welcome"`) || err == nil && string(text[:len(`{"type":"welcome"`)]) != `{"type":"welcome"` {
		err = fmt.Errorf("%s is not welcome: %s", user, text)
	}
	return ws, err
}

var buffers sync.Pool // of the clients' writes

// enterAll connects these users, some at a time.
func (p *process) enterAll(ctx context.Context, users []string) ([]*websocket.Conn, error) {
	const atATime = 16
	conns, errs := make([]*websocket.Conn, len(users)), make([]error, atATime)
	var all sync.WaitGroup
	for w := range atATime {
		all.Go(func() {
			for i := w; i < len(users) && errs[w] == nil; i += atATime {
				conns[i], errs[w] = p.enter(ctx, users[i])
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return conns, nil
}

func closeAll(conns []*websocket.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

func names(prefix string, n int) (users []string) {
	for i := range n {
		users = append(users, fmt.Sprint(prefix, i))
	}
	return users
}
