package world

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/signaling"
)

// greetLimit is how long a server may take to say who it is.
const greetLimit = 15 * time.Second

// Greet asks a server, as one of its users on a device of its own, for the level of
// the protocol that it speaks and for the features of its welcome.
func Greet(ctx context.Context, t Target, c scenarios.Client) (level int, features []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, greetLimit)
	defer cancel()
	token := ""
	if t.Token != nil {
		if token, err = t.Token(ctx, c); err != nil {
			return 0, nil, err
		}
	}
	var header http.Header
	if token != "" {
		header = http.Header{"Authorization": {"Bearer " + token}}
	}
	dialer := websocket.Dialer{TLSClientConfig: t.TLS}
	conn, response, err := dialer.DialContext(ctx, t.URL, header)
	if err != nil {
		if response != nil {
			err = fmt.Errorf("%w: %s", err, response.Status)
		}
		return 0, nil, fmt.Errorf("open %s: %w", withoutSecrets(t.URL), err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	level, features, err = hello(conn, token, c.Device)
	if ctx.Err() != nil {
		err = fmt.Errorf("it says nothing within %v", greetLimit)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("greet %s: %w", withoutSecrets(t.URL), err)
	}
	_ = conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")) // it would end without it, too
	return level, features, nil
}

// silence is how long a server of level 0 may leave a hello unanswered.
const silence = 3 * time.Second

// hello says who is there and reads until the server says what it makes of that.
func hello(conn *websocket.Conn, token, device string) (level int, features []string, err error) {
	frame, err := signaling.New(signaling.TypeHello, "", signaling.Hello{Version: 1, Token: token, Device: device})
	if err != nil {
		return 0, nil, err
	}
	frame.ID = "1"
	if err := conn.WriteMessage(websocket.TextMessage, signaling.Render(frame)); err != nil {
		return 0, nil, err
	}
	heard := make(chan error, 1)
	go func() {
		level, features, err = answerOf(conn)
		heard <- err
	}()
	patience := time.NewTimer(silence)
	defer patience.Stop()
	select {
	case err := <-heard:
		return level, features, err
	case <-patience.C:
		conn.Close()
		<-heard
		return 0, nil, nil
	}
}

func answerOf(conn *websocket.Conn) (level int, features []string, err error) {
	for {
		_, text, err := conn.ReadMessage()
		if err != nil {
			return 0, nil, err
		}
		f, err := signaling.Decode(text)
		if err != nil {
			return 0, nil, err
		}
		switch f.Type {
		case signaling.TypeWelcome:
			var w signaling.Welcome
			err := f.Into(&w)
			return 1, w.Features, err
		case signaling.TypeError:
			var e signaling.Error
			if err := f.Into(&e); err != nil {
				return 0, nil, err
			}
			if e.Code == signaling.CodeUnknownType || e.Code == signaling.CodeBadFrame {
				return 0, nil, nil
			}
			return 0, nil, errors.New(string(e.Code))
		}
	}
}
