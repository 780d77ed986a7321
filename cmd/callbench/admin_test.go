package main

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

const adminToken = "a token of administrators"

// ask asks the admin address.
func ask(t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
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

// Administrators have an address and a token of their own; clients find none of it
// at theirs.
func TestAdmin(t *testing.T) {
	t.Setenv("CALLBENCH_ADMIN_TOKEN", adminToken)
	addr, output, stop := servedAs(t, "-admin", "127.0.0.1:0")
	m := regexp.MustCompile(`admin +http://(\S+)/debug/calls`).FindStringSubmatch(output())
	if m == nil {
		t.Fatalf("it does not say where administrators are:\n%s", output())
	}
	admin := "http://" + m[1]
	for _, c := range []struct {
		method, path, token, body string
		code                      int
		want                      string
	}{
		{"GET", "/debug/calls", "", "", 401, "admin token"},
		{"GET", "/debug/calls", "a token of somebody else's", "", 401, ""},
		{"GET", "/debug/pprof/", "", "", 401, ""},
		{"GET", "/debug/calls?format=json", adminToken, "", 200, `{"rooms":[]}`},
		{"GET", "/debug/pprof/goroutine?debug=1", adminToken, "", 200, "goroutine profile"},
		{"GET", "/readyz", adminToken, "", 200, `{"ready":true,"parts":{"media server":"ok"}}`},
		{"POST", "/revocations", adminToken, `{"user":"alice"}`, 200, `{"ended":0}`},
		{"POST", "/revocations", adminToken, `{"tokenId":"t","until":"2100-01-01T00:00:00Z"}`, 200, `{"ended":0}`},
		{"POST", "/revocations", adminToken, `{"tokenID":"t","who":"x"}`, 400, "the body is not like"},
		{"POST", "/revocations", adminToken, `{}`, 400, "name either a token by tokenId or a user"},
		{"GET", "/revocations", adminToken, "", 405, ""},
	} {
		if code, body := ask(t, c.method, admin+c.path, c.token, c.body); code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, code, body, c.code, c.want)
		}
	}
	for path, want := range map[string]int{"/readyz": 200, "/debug/calls": 404, "/debug/pprof/": 404, "/revocations": 404} {
		if code, _ := ask(t, "GET", "http://"+addr+path, adminToken, ""); code != want {
			t.Errorf("%s at the clients' address: %d, want %d", path, code, want)
		}
	}
	if code, out := stop(); code != exitPass || strings.Contains(out, adminToken) {
		t.Errorf("exit code %d, %s", code, out)
	}
}

// Without -admin there is no such address, and half a configuration is none.
func TestAdminMistakes(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"admin: 127.0.0.1:0", "-admin and -admin-token (CALLBENCH_ADMIN_TOKEN) go together"},
		{"admin-token: " + adminToken, "go together"},
		{"admin: 127.0.0.1:0\nadmin-token: short", "16 bytes or more"},
		{"drain-delay: -1s", "must not be negative"},
	} {
		if _, err := parsed(t, c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.file, err)
		}
	}
}

// A server that drains says so before it ends anything.
func TestDrain(t *testing.T) {
	addr, output, stop := servedAs(t, "-users=", "-drain-delay", "1s")
	done := make(chan struct{})
	go func() {
		defer close(done)
		stop()
	}()
	until(t, "it drains", func() bool { return strings.Contains(output(), "draining") })
	if code, body := ask(t, "GET", "http://"+addr+"/readyz", "", ""); code != 503 || !strings.Contains(body, "drains") {
		t.Errorf("readyz: %d %s", code, body)
	}
	if code, _ := ask(t, "GET", "http://"+addr+"/healthz", "", ""); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	<-done
}
