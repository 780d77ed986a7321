package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/server/push"
)

// said is what a command prints while it runs.
type said struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// served runs `callbench serve` and gives the address where it is. stop ends it
// as a signal would, and gives the exit code and all that it said.
func served(t *testing.T, args ...string) (addr string, stop func() (int, string)) {
	t.Helper()
	addr, _, stop = servedAs(t, args...)
	return addr, stop
}

// servedAs is served, and gives what the command has said so far as well.
func servedAs(t *testing.T, args ...string) (addr string, output func() string, stop func() (int, string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, code := &said{}, make(chan int, 1)
	go func() { code <- Main(ctx, append([]string{"serve", "-listen", "127.0.0.1:0"}, args...), out, out) }()
	stop = sync.OnceValues(func() (int, string) { cancel(); return <-code, out.String() })
	t.Cleanup(func() { stop() })
	until(t, "the server says where it is", func() bool {
		m := regexp.MustCompile(`clients +ws://(\S+)/ws`).FindStringSubmatch(out.String())
		if m != nil {
			addr = m[1]
		}
		return m != nil
	})
	return addr, out.String, stop
}

// until waits for something that another process or goroutine does.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 600 {
		if done() {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Fatalf("it does not happen: %s", what)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestServe(t *testing.T) {
	addr, stop := served(t, "-users", "ann,ben")
	if code, body := get(t, "http://"+addr+"/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %q", code, body)
	}
	if _, body := get(t, "http://"+addr+"/metrics"); !strings.Contains(body, "callbench_connections 0\n") {
		t.Errorf("metrics: %s", body)
	}
	page, err := os.ReadFile("../../docs/serve.md")
	if err != nil {
		t.Fatal(err)
	}
	const rpc = "callbench_kms_rpc_seconds"
	if _, body := get(t, "http://"+addr+"/metrics"); !strings.Contains(body, rpc+`_count{method="connect",outcome="ok"} 1`) || !strings.Contains(string(page), rpc) {
		t.Errorf("%s is not measured or not documented: %s", rpc, body)
	}
	_, body := get(t, "http://"+addr+"/users.json")
	var users []struct{ Name, Token string }
	if err := json.Unmarshal([]byte(body), &users); err != nil || len(users) != 2 || users[0].Name != "ann" || users[0].Token == "" {
		t.Errorf("users: %v %s", err, body)
	}
	code, output := stop()
	if code != exitPass || !strings.HasSuffix(output, "stopped\n") {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"embedded kmsmock", "embedded, turn:127.0.0.1:", "in memory", "token of ann", "token of ben", "http://" + addr + "/"} {
		if !strings.Contains(output, want) {
			t.Errorf("no %q in:\n%s", want, output)
		}
	}
}

// A user that is not connected is called through the webhook, which is told when
// that is over.
func TestServeWakes(t *testing.T) {
	secret := "a secret of at least 24 bytes"
	signer, err := push.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 8)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err = errors.Join(err, signer.Verify(r.Header, body, time.Now())); err != nil {
			t.Error(err)
		}
		told <- string(body)
	}))
	defer hook.Close()
	t.Setenv("CALLBENCH_PUSH_SECRET", secret)
	addr, stop := served(t, "-users", "ann,ben", "-push-url", hook.URL+"/?key=hidden")
	_, body := get(t, "http://"+addr+"/users.json")
	var users []struct{ Name, Token string }
	if err := json.Unmarshal([]byte(body), &users); err != nil {
		t.Fatal(err)
	}
	ann, _, err := websocket.DefaultDialer.Dial("ws://"+addr+"/ws", http.Header{"Authorization": {"Bearer " + users[0].Token}})
	if err != nil {
		t.Fatal(err)
	}
	for _, frame := range []string{`{"type":"rtc","action":"call","targetUser":"ben"}`, `{"type":"rtc","action":"leave"}`} {
		if err := ann.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
			t.Fatal(err)
		}
		if got := hears(t, told); !strings.Contains(got, `"from":"ann","to":"ben"`) || strings.Contains(got, "cancel") != strings.Contains(frame, "leave") {
			t.Errorf("after %s the webhook was told %s", frame, got)
		}
	}
	ann.Close()
	if _, output := stop(); !strings.Contains(output, "webhook at 127.0.0.1:") || strings.Contains(output, "hidden") {
		t.Errorf("it says:\n%s", output)
	}
}

// A client is told how long it has to come back, and a call rings as long as the
// server was told.
func TestServeTimeouts(t *testing.T) {
	addr, _ := served(t, "-users", "ann,ben", "-resume-window", "7s", "-ring-timeout", "1s")
	_, body := get(t, "http://"+addr+"/users.json")
	var users []struct{ Name, Token string }
	if err := json.Unmarshal([]byte(body), &users); err != nil {
		t.Fatal(err)
	}
	var end string
	for i, u := range users { // ben's call comes when both are there
		ws, _, err := websocket.DefaultDialer.Dial("ws://"+addr+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		hello := fmt.Sprintf(`{"type":"hello","id":"1","data":{"version":1,"token":%q}}`, u.Token)
		if err := ws.WriteMessage(websocket.TextMessage, []byte(hello)); err != nil {
			t.Fatal(err)
		}
		_, welcome, err := ws.ReadMessage()
		if err != nil || !strings.Contains(string(welcome), `"resumeWindow":7,`) {
			t.Fatalf("%s, %v", welcome, err)
		}
		if i == 0 {
			continue
		}
		if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"rtc","action":"call","id":"2","data":{"targetUser":"ann"}}`)); err != nil {
			t.Fatal(err)
		}
		for !strings.Contains(end, `"action":"ended"`) {
			_, frame, err := ws.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			end = string(frame)
		}
	}
	if !strings.Contains(end, `"reason":"no_answer"`) {
		t.Errorf("the call ended with %s", end)
	}
}

// hears is what comes next.
func hears(t *testing.T, from <-chan string) string {
	t.Helper()
	select {
	case s := <-from:
		return s
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is heard")
		return ""
	}
}

// Without demo users there is no page that hands out tokens.
func TestServeWithoutDemo(t *testing.T) {
	addr, stop := served(t, "-users=")
	if code, _ := get(t, "http://"+addr+"/users.json"); code != http.StatusNotFound {
		t.Errorf("users.json: %d", code)
	}
	if _, output := stop(); strings.Contains(output, "token") || strings.Contains(output, "demo") {
		t.Errorf("it says:\n%s", output)
	}
}

func TestServeRefusesWhatItCannotUse(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-secret=short", "32 bytes"},
		{"-turn=turn:127.0.0.1:3478", "-turn-secret"},
		{"-push-url=http://127.0.0.1:1/", "-push-secret"},
		{"-push-all", "-push-url"},
		{"-mysql=root@tcp(127.0.0.1:3306)/calls", "-data"},
		{"-data=here", "-mysql"},
		{"-listen=nowhere", "listen for clients"},
		{"-kms=ws://127.0.0.1:1/kurento", "connect to the media server"},
	} {
		out := &said{}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		code := Main(ctx, []string{"serve", "-listen", "127.0.0.1:0", c.args}, out, out)
		cancel()
		if code != exitUsage || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: exit code %d, %s", c.args, code, out)
		}
	}
}

// Two tabs of a real browser call each other on the demo page.
func TestBrowserDemo(t *testing.T) {
	first := chromium(t)
	addr, stop := served(t)
	alice, bob := first, tab(t, first)
	for name, ctx := range map[string]context.Context{"alice": alice, "bob": bob} {
		run(t, ctx, chromedp.Navigate("http://"+addr+"/#"+name))
		shows(t, ctx, "#session", "connected as "+name)
	}
	online := func() bool {
		return run(t, alice, chromedp.Evaluate[string](`document.querySelector("#contact-bob .name").dataset.status`)) == "online"
	}
	until(t, "alice sees bob online", online)
	press(t, alice, "#contact-bob button")
	shows(t, bob, "#caller", "alice")
	shows(t, alice, "#state", "rings at bob")
	press(t, bob, "#accept")
	for _, ctx := range []context.Context{alice, bob} {
		until(t, "20 frames are decoded", func() bool {
			return run(t, ctx, chromedp.Evaluate[int](`Number(document.querySelector("#facts").dataset.frames ?? 0)`)) >= 20
		})
	}
	shot := run(t, bob, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "demo.png"), shot, 0o644); err != nil {
		t.Error(err)
	}
	press(t, alice, "#hangup")
	shows(t, bob, "#messages", "call over: hangup")
	shows(t, bob, "#messages", "alice → bob: Call, ")
	run(t, alice, chromedp.Evaluate[bool](`document.querySelector("#text").value = "see you", document.querySelector("#say").requestSubmit(), true`))
	shows(t, bob, "#messages", "alice → bob: see you")
	if _, body := get(t, "http://"+addr+"/metrics"); !strings.Contains(body, `callbench_calls_ended_total{reason="hangup"} 1`) {
		t.Errorf("metrics: %s", body)
	}
	stop()
	shows(t, alice, "#session", "coming back")
}

func shows(t *testing.T, ctx context.Context, selector, text string) {
	t.Helper()
	until(t, selector+" shows "+text, func() bool {
		return strings.Contains(run(t, ctx, chromedp.Evaluate[string](`document.querySelector("`+selector+`").textContent`)), text)
	})
}

func press(t *testing.T, ctx context.Context, selector string) {
	t.Helper()
	run(t, ctx, chromedp.Evaluate[bool](`document.querySelector("`+selector+`").click(), true`))
}
