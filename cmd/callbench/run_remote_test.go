package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/reports"
)

const loginSecret = "the login service's secret, 32 bytes or more"

// tokenOf is what the login service would give a user.
func tokenOf(t *testing.T, user string) string {
	t.Helper()
	token, err := (&tokenFlags{Secret: loginSecret}).token(user, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// written puts a file into a folder of the test's own.
func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ran runs a command line and gives the exit code, what it printed and the report
// that it wrote.
func ran(t *testing.T, args ...string) (code int, output string, run reports.Run) {
	t.Helper()
	dir := t.TempDir()
	var out bytes.Buffer
	code = Main(t.Context(), append(args, "-o", dir), &out, &out)
	b, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err == nil {
		err = json.Unmarshal(b, &run)
	}
	if err != nil && code != exitUsage {
		t.Fatalf("the report: %v\n%s", err, out.String())
	}
	untold(t, dir, out.String())
	return code, out.String(), run
}

// untold fails the test if a token or secret stands in what was printed or in a file.
func untold(t *testing.T, dir, output string) {
	t.Helper()
	look := func(where, text string) {
		for _, secret := range []string{"eyJ", loginSecret, "do-not-tell"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s has %q in it", where, secret)
			}
		}
	}
	look("the output", output)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		look(path, string(b))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A server behind TLS, accounts with other names than the script's, tokens of each
// source, and nothing of them in what is kept.
func TestRunRemote(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	addr, _ := served(t, "-users", "stg-1,stg-2", "-secret", loginSecret)
	front := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr}))
	defer front.Close()
	ca := written(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})))
	at := "wss://" + front.Listener.Addr().String() + "/ws"
	users := written(t, "users.csv", "user,device\nstg-1,desk\nstg-2\n")
	list := written(t, "tokens.csv", "stg-1,"+tokenOf(t, "stg-1")+"\nstg-2,"+tokenOf(t, "stg-2")+"\n")
	for name, source := range map[string]string{"file": list, "command": "sh:grep ^$CALLBENCH_USER, " + list + " | cut -d, -f2"} {
		t.Run(name, func(t *testing.T) {
			code, output, run := ran(t, "run", "-world", "remote", "-url", at, "-ca", ca, "-users", users, "-tokens", source, "-metrics", "http://"+addr+"/metrics", "hangup-by-caller")
			if code != exitPass {
				t.Fatalf("exit code %d:\n%s", code, output)
			}
			if want := "SKIP 1 expectation of hangup-by-caller: no MySQL probe (-mysql)"; !strings.Contains(output, want) {
				t.Errorf("it does not say %q:\n%s", want, output)
			}
			if run.World != "remote" || run.Parts["server"] != "at "+at || run.Parts["tls"] != "" {
				t.Errorf("%s %v", run.World, run.Parts)
			}
		})
	}
	t.Run("not verified", func(t *testing.T) {
		code, output, run := ran(t, "run", "-world", "remote", "-url", at, "-insecure", "-users", users, "-tokens", list, "decline")
		if code != exitPass || run.Parts["tls"] == "" {
			t.Errorf("exit code %d, parts %v:\n%s", code, run.Parts, output)
		}
	})
	t.Run("not trusted", func(t *testing.T) {
		code, output, _ := ran(t, "run", "-world", "remote", "-url", at, "-users", users, "-tokens", list, "decline")
		if code != exitUsage || !strings.Contains(output, "certificate") {
			t.Errorf("exit code %d:\n%s", code, output)
		}
	})
}

// With the login service's secret tokens can be forged; what others decide is
// skipped with the reason.
func TestRunRemoteForges(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	t.Setenv("CALLBENCH_JWT_SECRET", loginSecret)
	addr, _ := served(t, "-users", "alice,bob,mallory", "-secret", loginSecret)
	code, output, run := ran(t, "run", "-world", "remote", "-url", "ws://"+addr+"/ws", "-tokens", "jwt", "token-refused", "token-revoked", "blocked-sender", "kms-dies", "room-full", "messages")
	if code != exitPass {
		t.Fatalf("exit code %d:\n%s", code, output)
	}
	skips := map[string]string{"token-revoked": "taken back", "blocked-sender": "who blocks whom", "kms-dies": "kms-control", "room-full": "room_limit"}
	for _, s := range run.Scenarios {
		why, skip := skips[s.Name]
		switch {
		case skip && (s.Verdict != reports.Skip || !strings.Contains(s.Reason, why)):
			t.Errorf("%s: %s %s, want a skip for %q", s.Name, s.Verdict, s.Reason, why)
		case !skip && s.Verdict != reports.Pass:
			t.Errorf("%s: %s %s", s.Name, s.Verdict, s.Reason)
		}
	}
}

// A source that has no token of a user breaks the run, and says whose it lacks.
func TestRunRemoteLacksToken(t *testing.T) {
	addr, _ := served(t, "-users", "alice,bob", "-secret", loginSecret)
	list := written(t, "tokens.csv", "alice,"+tokenOf(t, "alice")+"\n")
	code, output, _ := ran(t, "run", "-world", "remote", "-url", "ws://"+addr+"/ws", "-tokens", list, "decline")
	if code != exitFail || !strings.Contains(output, "has no token of bob") {
		t.Errorf("exit code %d:\n%s", code, output)
	}
}

// TestServiceRunRemote looks at everything behind a server: its media server, its
// Redis, a real MySQL or MariaDB and its metrics, in which others have calls, too.
func TestServiceRunRemote(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time; run without -short")
	}
	dsn := database(t)
	redis := miniredis.RunT(t)
	mock := mockAt(t)
	t.Setenv("CALLBENCH_JWT_SECRET", loginSecret)
	t.Setenv("CALLBENCH_PROBE_MYSQL", dsn)
	addr, _ := served(t, "-users", "alice,bob,carol,dave", "-secret", loginSecret, "-mysql", dsn, "-data", t.TempDir(), "-redis", redis.Addr(), "-kms", mock)
	code, output, run := ran(t, "run", "-world", "remote", "-url", "ws://"+addr+"/ws", "-tokens", "jwt", "-kms", mock, "-redis", redis.Addr(), "-metrics", "http://"+addr+"/metrics",
		"hangup-by-caller", "decline-reasons", "messages", "offline-messages", "quick-hangup", "devices-ring")
	if code != exitPass {
		t.Fatalf("exit code %d:\n%s", code, output)
	}
	for _, s := range run.Scenarios {
		if s.Verdict != reports.Pass {
			t.Errorf("%s: %s %s", s.Name, s.Verdict, s.Reason)
		}
		for _, st := range s.Skipped() {
			t.Errorf("%s: %s is skipped: %s", s.Name, st.Text, st.Reason)
		}
	}
	for part, where := range map[string]string{"kurento": mock, "redis": redis.Addr(), "mysql": "/callbench_"} {
		if is := run.Parts[part]; !strings.Contains(is, where) || strings.Contains(is, "@") {
			t.Errorf("%s is %q", part, is)
		}
	}
}

// mockAt serves a mock media server.
func mockAt(t *testing.T) (url string) {
	t.Helper()
	mock, err := kmsmock.New(kmsmock.Config{Interfaces: []string{"lo"}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mock.Serve(ln) }()
	t.Cleanup(func() {
		if err := errors.Join(mock.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return "ws://" + ln.Addr().String() + "/kurento"
}
