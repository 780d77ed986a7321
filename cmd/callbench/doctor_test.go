package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/callbench/callbench/server/turn"
)

// goodMachine has everything.
func goodMachine() machine {
	files := map[string]string{
		"/proc/sys/net/core/rmem_default":                                  "212992\n",
		"/proc/sys/net/core/rmem_max":                                      "4194304\n",
		"/proc/sys/net/ipv4/ip_local_port_range":                           "32768\t60999\n",
		"/sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
	}
	return machine{cores: 4,
		look: func(command string) (string, error) { return "/usr/bin/" + command, nil },
		read: func(file string) ([]byte, error) {
			if s, ok := files[file]; ok {
				return []byte(s), nil
			}
			return nil, fs.ErrNotExist
		},
		files:  func() (uint64, error) { return 20000, nil },
		listen: func(string, string) error { return nil },
	}
}

func states(checks []finding) map[string]state {
	m := map[string]state{}
	for _, f := range checks {
		m[f.Name] = f.State
	}
	return m
}

func TestDoctorFindsNothingWrong(t *testing.T) {
	e := (&doctorCmd{Calls: 100}).examine(t.Context(), goodMachine())
	for _, f := range e.Checks {
		if f.State != stateOK || f.Found == "" || f.Why == "" || f.Asked {
			t.Errorf("%+v", f)
		}
	}
	if all := strings.Join(e.Mock, "\n"); !strings.Contains(all, "Composite mixes nothing") || !strings.Contains(all, "barcode") {
		t.Error("does not tell what the mock does with a Composite")
	}
}

// Each lack is told by its own check, and by no other.
func TestDoctorFindsWhatIsWrong(t *testing.T) {
	broken := errors.New("no such luck")
	file := func(name, content string) func(*machine) {
		return func(m *machine) {
			read := m.read
			m.read = func(f string) ([]byte, error) {
				if strings.HasSuffix(f, name) {
					return []byte(content), nil
				}
				return read(f)
			}
		}
	}
	noFiles := func(m *machine) { m.read = func(string) ([]byte, error) { return nil, fs.ErrNotExist } }
	for _, test := range []struct {
		what   string
		change func(*machine)
		want   map[string]state
	}{
		{"one core", func(m *machine) { m.cores = 1 }, map[string]state{"cpu": stateWarn, "udp buffers": stateWarn}},
		{"few files", func(m *machine) { m.files = func() (uint64, error) { return 1024, nil } }, map[string]state{"open files": stateWarn}},
		{"no limit", func(m *machine) { m.files = func() (uint64, error) { return 0, broken } }, map[string]state{"open files": stateWarn}},
		{"small buffers", file("rmem_default", "65536"), map[string]state{"udp buffers": stateWarn}},
		{"few ports", file("port_range", "60000 60100"), map[string]state{"ports": stateWarn}},
		{"half a range", file("port_range", "60000"), map[string]state{"ports": stateWarn}},
		{"slow clock", file("current_clocksource", "hpet"), map[string]state{"clock": stateWarn}},
		{"another system", noFiles, map[string]state{"udp buffers": stateWarn, "ports": stateWarn, "clock": stateWarn}},
		{"no sockets", func(m *machine) { m.listen = func(string, string) error { return broken } }, map[string]state{"loopback": stateMissing}},
		{"8080 taken", func(m *machine) {
			m.listen = func(_, address string) error {
				if address == "127.0.0.1:8080" {
					return broken
				}
				return nil
			}
		}, map[string]state{"loopback": stateWarn}},
		{"nothing installed", func(m *machine) { m.look = func(string) (string, error) { return "", exec.ErrNotFound } },
			map[string]state{"redis-server": stateMissing, "turnserver": stateMissing, "chromium": stateMissing, "ffmpeg": stateMissing, "docker": stateMissing}},
	} {
		m := goodMachine()
		test.change(&m)
		for name, got := range states(m.check(100)) {
			want := stateOK
			if s, ok := test.want[name]; ok {
				want = s
			}
			if got != want {
				t.Errorf("%s: %s is %s, want %s", test.what, name, got, want)
			}
		}
		var b bytes.Buffer
		if err := (&doctorCmd{}).report(&console{Writer: &b, err: io.Discard}, examination{Checks: m.check(100)}); err != nil {
			t.Errorf("%s: nobody asked for it, and it fails", test.what)
		}
		if !strings.Contains(b.String(), "→ ") {
			t.Errorf("%s: does not say what to do\n%s", test.what, b.String())
		}
	}
}

// What is there is used: the mock passes for a Kurento, the embedded TURN server for any.
func TestDoctorExaminesServices(t *testing.T) {
	h := &host{ip: net.IPv4(127, 0, 0, 1), log: slog.New(slog.DiscardHandler)}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	kms, err := h.mock()
	if err != nil {
		t.Fatal(err)
	}
	const secret = "a-secret-that-is-long-enough-for-tests"
	url := embeddedTURN(t, h, secret)
	redis := miniredis.RunT(t)
	c := &doctorCmd{Kms: kms, Turn: url, TurnSecret: secret, Redis: redis.Addr(), Calls: 10}
	e := c.examine(t.Context(), goodMachine())
	found := map[string]finding{}
	for _, f := range e.Checks {
		found[f.Name] = f
	}
	for name, want := range map[string]string{"kurento": "KMS 7.3.0; ", "redis": "at " + redis.Addr(), "turn": "relays at 127.0.0.1:"} {
		if f := found[name]; f.State == stateMissing || !f.Asked || !strings.Contains(f.Found, want) {
			t.Errorf("%+v, want %q", f, want)
		}
	}
	if all := strings.Join(e.Proven, "\n"); !strings.Contains(all, "A real Redis: yes, at ") || !strings.Contains(all, "with -turn "+url) {
		t.Errorf("proven:\n%s", all)
	}
	c.TurnSecret = ""
	if what, err := checkTURN(t.Context(), url, ""); err != nil || !strings.Contains(what, "answers; without") {
		t.Errorf("%q, %v", what, err)
	}
	if what, err := checkTURN(t.Context(), url, "another-secret-that-is-long-enough-too"); err == nil {
		t.Errorf("a wrong secret: %s", what)
	}
}

// embeddedTURN starts the embedded TURN server with a known secret.
func embeddedTURN(t *testing.T, h *host, secret string) (url string) {
	t.Helper()
	secrets, err := turn.NewSecrets(secret)
	if err != nil {
		t.Fatal(err)
	}
	if url, err = h.turn(secrets); err != nil {
		t.Fatal(err)
	}
	return url
}

func TestDoctorFailsForWhatWasAsked(t *testing.T) {
	for _, args := range [][]string{{"-redis", "127.0.0.1:1"}, {"-kms", "ws://127.0.0.1:1/kurento"}, {"-turn", "stun:127.0.0.1"}, {"-mysql", "root@tcp(127.0.0.1:1)/calls"}} {
		var out bytes.Buffer
		if code := Main(t.Context(), append([]string{"doctor", "-json"}, args...), &out, io.Discard); code != exitFail {
			t.Errorf("%v: exit code %d", args, code)
		}
		var e examination
		if err := json.Unmarshal(out.Bytes(), &e); err != nil || len(e.Mock) == 0 || len(e.Proven) == 0 {
			t.Fatalf("%v: %v\n%s", args, err, out.Bytes())
		}
		for _, f := range e.Checks {
			if f.Asked != (f.Name == map[string]string{"-redis": "redis", "-kms": "kurento", "-turn": "turn", "-mysql": "mysql"}[args[0]]) || f.Asked && (f.State != stateMissing || f.Do == "") {
				t.Errorf("%v: %+v", args, f)
			}
		}
	}
}

// TestDoctorKnowsAMock keeps a mock at -kms from counting as proof of real media.
func TestDoctorKnowsAMock(t *testing.T) {
	clients, _ := startMockCommand(t, "-timing", "fast")
	e := (&doctorCmd{Calls: 100, Kms: clients}).examine(t.Context(), goodMachine())
	if got := states(e.Checks)["kurento"]; got != stateWarn {
		t.Errorf("kurento is %s", got)
	}
	if all := strings.Join(e.Proven, "\n"); !strings.Contains(all, "A real media server: no.") {
		t.Errorf("claims %s", all)
	}
}
