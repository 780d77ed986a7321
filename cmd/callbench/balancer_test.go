package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"
)

const balancedSecret = "a secret of 32 bytes, to balance"

// behind starts a server as it is behind a balancer on this machine.
func behind(t *testing.T, args ...string) *part {
	t.Helper()
	addr := freeAddr(t)
	return newCallbenchPart(t, "server "+addr, addr, "/healthz", append([]string{"serve", "-listen", addr, "-users=", "-secret", balancedSecret,
		"-trusted-proxies", "127.0.0.1/32"}, args...)...)
}

// TestServiceBalancerKeepsCalls has two who talk through a balancer that reads its
// file anew, which they do not notice, and that stops and starts again, after which
// they talk on in the same call.
func TestServiceBalancerKeepsCalls(t *testing.T) {
	for name, start := range balancers {
		t.Run(name, func(t *testing.T) {
			srv := behind(t)
			b := start(t, srv.addr)
			k := crowd(t, b.addr, balancedSecret, 1)[0]
			ctx, cancel := context.WithTimeout(t.Context(), settle)
			defer cancel()
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatalf("%v: %s", err, k.describe())
				}
			}
			must(k.talk(ctx))
			b.reload(t)
			if !k.answered(ctx) || !k.talks() {
				t.Errorf("they do not talk on when %s has read its file: %s", name, k.describe())
			}
			if n := resumed(t, srv); n != "0" {
				t.Errorf("%s sessions were resumed after %s had read its file", n, name)
			}
			b.stop()
			must(wait(ctx, "both know that they are not connected", func() bool { return k.a.State().Link != "up" && k.b.State().Link != "up" }))
			b.start()
			must(wait(ctx, "they talk in the same call", k.talks))
			if n := resumed(t, srv); n != "2" {
				t.Errorf("%s sessions were resumed, want 2", n)
			}
			must(k.a.Hangup(ctx))
			must(wait(ctx, "the call is over", func() bool { _, over := k.over(); return over }))
			if reason, _ := k.over(); reason != "hangup/hangup" {
				t.Errorf("the call ended with %q", reason)
			}
		})
	}
}

// resumed is how many sessions a server says were resumed.
func resumed(t *testing.T, srv *part) string {
	t.Helper()
	_, body := get(t, "http://"+srv.addr+"/metrics")
	m := regexp.MustCompile(`callbench_sessions_opened_total\{how="resumed"\} (\d+)`).FindStringSubmatch(body)
	if m == nil {
		return "0"
	}
	return m[1]
}

// TestServiceBalancerSticks has clients come twice, from different addresses, to
// two servers: where a user's token or a cookie says that it is the same one, it
// comes to the same server, and so does who comes from the same address.
func TestServiceBalancerSticks(t *testing.T) {
	one, two := behind(t), behind(t)
	for name, start := range balancers {
		t.Run(name, func(t *testing.T) {
			b := start(t, one.addr, two.addr)
			if name == "haproxy" {
				spread(t, b, func(i int) (first, second comer) {
					h := bearer(t, fmt.Sprint("user", i))
					return comer{"127.0.0.1", h}, comer{"127.0.0.2", h}
				})
			}
			spread(t, b, func(i int) (first, second comer) {
				first = comer{from: fmt.Sprint("127.0.1.", i+1)}
				ws, resp := b.dial(t, first)
				if ws == nil || len(resp.Cookies()) != 1 {
					t.Fatalf("%s and cookies %v", resp.Status, resp.Cookies())
				}
				return first, comer{"127.0.0.1", http.Header{"Cookie": {resp.Cookies()[0].Name + "=" + resp.Cookies()[0].Value}}}
			})
			spread(t, b, func(i int) (first, second comer) {
				c := comer{from: fmt.Sprint("127.0.2.", i+1)}
				return c, c
			})
		})
	}
}

// spread lets clients come twice each, and looks that they come to the same server,
// and not all of them to one.
func spread(t *testing.T, b *balancer, who func(i int) (first, second comer)) {
	t.Helper()
	count := map[string]int{}
	for i := range 24 {
		first, second := who(i)
		was, is := b.server(t, first), b.server(t, second)
		if was != is {
			t.Errorf("client %d came to %s and then to %s", i, was, is)
		}
		count[was]++
	}
	if len(count) != 2 {
		t.Errorf("clients came to servers as in %v, want both", count)
	}
}

// bearer is the header that has a new token of a user, which differs from every other
// token of it.
func bearer(t *testing.T, user string) http.Header {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{Subject: user, ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}).
		SignedString([]byte(balancedSecret))
	if err != nil {
		t.Fatal(err)
	}
	return http.Header{"Authorization": {"Bearer " + token}}
}

// TestServiceBalancerLeavesOut takes away what one of two servers needs: nobody
// new comes to it until it is there again, and who is connected stays.
func TestServiceBalancerLeavesOut(t *testing.T) {
	redis := newRedisPart(t)
	needy, other := behind(t, "-redis", redis.addr), behind(t)
	b := newHAProxy(t, needy.addr, other.addr)
	comers := make([]comer, 24)
	for i := range comers {
		comers[i] = comer{from: fmt.Sprint("127.0.1.", i+1)}
	}
	name := strings.ReplaceAll(needy.addr, ":", "_")
	reach := func() (n int) {
		for _, c := range comers {
			if b.server(t, c) == name {
				n++
			}
		}
		return n
	}
	until(t, "clients come to both servers", func() bool { n := reach(); return n > 0 && n < len(comers) })
	connected := stays(t, b, comers, name)
	redis.kill()
	until(t, "nobody comes to the server that is not ready", func() bool { return reach() == 0 })
	if err := connected.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := connected.ReadMessage(); !isPong(err) {
		t.Errorf("who was connected has heard %v", err)
	}
	redis.start()
	until(t, "clients come to it again", func() bool { return reach() > 0 })
}

// errPong ends a reading that waits for nothing else.
type errPong struct{}

func (errPong) Error() string { return "pong" }

func isPong(err error) bool { return err == errPong{} }

// stays connects somebody to a server, and leaves the connection open.
func stays(t *testing.T, b *balancer, comers []comer, name string) *websocket.Conn {
	t.Helper()
	for i, c := range comers {
		c.header = bearer(t, fmt.Sprint("stays", i))
		ws, resp := b.dial(t, c)
		if resp.Header.Get(servedBy) == name {
			ws.SetPongHandler(func(string) error { return errPong{} })
			return ws
		}
	}
	t.Fatalf("nobody comes to %s", name)
	return nil
}

// TestServiceBalancerPassesDead kills one of two servers: whoever comes is served by
// the other one.
func TestServiceBalancerPassesDead(t *testing.T) {
	for name, start := range balancers {
		t.Run(name, func(t *testing.T) {
			one, two := behind(t), behind(t)
			b := start(t, one.addr, two.addr)
			one.kill()
			for i := range 24 {
				if by := b.server(t, comer{from: fmt.Sprint("127.0.1.", i+1)}); !strings.HasSuffix(strings.ReplaceAll(by, "_", ":"), two.addr) {
					t.Errorf("client %d came to %s", i, by)
				}
			}
		})
	}
}

// TestServiceBalancerTellsAddresses has a server that lets one connection of an address
// in: it sees the clients' own, and not what they claim, and the host that pages are
// of.
func TestServiceBalancerTellsAddresses(t *testing.T) {
	for name, start := range balancers {
		t.Run(name, func(t *testing.T) {
			b := start(t, behind(t, "-limit-connections-per-address", "1").addr)
			claim := http.Header{"X-Forwarded-For": {"192.0.2.1"}}
			for _, c := range []struct {
				comer
				want int
			}{
				{comer{from: "127.0.0.2"}, http.StatusSwitchingProtocols},
				{comer{from: "127.0.0.2"}, http.StatusTooManyRequests},
				{comer{"127.0.0.2", claim}, http.StatusTooManyRequests},
				{comer{"127.0.0.3", claim}, http.StatusSwitchingProtocols},
				{comer{"127.0.0.4", http.Header{"Origin": {"http://" + b.addr}}}, http.StatusSwitchingProtocols},
				{comer{"127.0.0.5", http.Header{"Origin": {"http://elsewhere.example"}}}, http.StatusForbidden},
			} {
				if _, resp := b.dial(t, c.comer); resp.StatusCode != c.want {
					t.Errorf("from %s with %v: %s, want %d", c.from, c.header, resp.Status, c.want)
				}
			}
			for _, path := range []string{"/metrics", "/readyz"} {
				if code, _ := get(t, "http://"+b.addr+path); code != http.StatusNotFound {
					t.Errorf("%s is answered with %d", path, code)
				}
			}
		})
	}
}

// TestBalancerTimeouts reads from the files in deploy/ that no balancer ends a
// connection which the server would still wait for.
func TestBalancerTimeouts(t *testing.T) {
	const silence = 90 * time.Second // as docs/protocol.md has it under liveness; pings come more often
	for path, lines := range map[string][]string{
		"haproxy/haproxy.cfg": {`\n *timeout tunnel +(\w+)\n`},
		"nginx/nginx.conf":    {`\n *proxy_read_timeout +(\w+);\n`, `\n *proxy_send_timeout +(\w+);\n`},
	} {
		raw, err := os.ReadFile("../../deploy/" + path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			m := regexp.MustCompile(line).FindSubmatch(raw)
			if m == nil {
				t.Errorf("%s has no %s", path, line)
				continue
			}
			if d, err := time.ParseDuration(string(m[1])); err != nil || d <= silence {
				t.Errorf("%s: %s is %v, %v; the server waits for %v", path, line, d, err, silence)
			}
		}
	}
}
