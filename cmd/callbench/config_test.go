package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/kms"
)

var update = flag.Bool("update", false, "write the generated part of docs/configuration.md")

// parsed is what `callbench serve` makes of its flags, and of a configuration file
// if there is one.
func parsed(t *testing.T, file string, args ...string) (serveCmd, error) {
	t.Helper()
	var c cli
	parser, err := kong.New(&c, kong.Vars{"version": ""}, kong.Exit(func(int) {}), kong.Writers(io.Discard, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	if file != "" {
		path := filepath.Join(t.TempDir(), "callbench.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	if _, err = parser.Parse(append([]string{"serve"}, args...)); err == nil {
		err = c.Serve.check()
	}
	return c.Serve, err
}

// A flag counts before the environment, and that before the file, and that before
// the default.
func TestConfigPrecedence(t *testing.T) {
	const file = "limit-rooms: 7\nlisten: 127.0.0.1:1\naudience: file\nleeway: 1m\n"
	t.Setenv("CALLBENCH_LISTEN", "127.0.0.1:2")
	t.Setenv("CALLBENCH_AUDIENCE", "environment")
	c, err := parsed(t, file, "--audience", "flag")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(c.LimitRooms, c.Listen, c.Audience, c.Leeway, c.LimitCallsPerMinute)
	if want := "7 127.0.0.1:2 flag 1m0s 30\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// YAML and JSON say the same, and lists are lists.
func TestConfigFile(t *testing.T) {
	for name, file := range map[string]string{
		"yaml": "users: [ann, ben]\nlevel0: true\norigins:\n  - https://a.example.com\n  - https://*.b.example.com\ntrusted-proxies: 10.0.0.7, 192.168.0.0/16\n",
		"json": `{"users": ["ann", "ben"], "level0": true, "origins": ["https://a.example.com", "https://*.b.example.com"], "trusted-proxies": "10.0.0.7, 192.168.0.0/16"}`,
	} {
		c, err := parsed(t, file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := fmt.Sprint(c.Users, c.Level0, c.Origins)
		if want := "[ann ben] true [https://a.example.com https://*.b.example.com]"; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if _, err := parsed(t, "# nothing\n"); err != nil {
		t.Errorf("an empty file: %v", err)
	}
	t.Setenv("CALLBENCH_CONFIG", filepath.Join(t.TempDir(), "none.yaml"))
	if _, err := parsed(t, ""); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("the file that the environment names is not there: %v", err)
	}
}

// Every mistake is told, with its place and what would be right.
func TestConfigMistakes(t *testing.T) {
	for file, wants := range map[string][]string{
		"listen: 127.0.0.1:1\nlimit-room: 7\nlog_level: DEBUG\n": {"line 2: limit-room is no setting: did you mean limit-rooms or limit-rooms-per-user?", "line 3: log_level is no setting: did you mean log-level?"},
		"config: other.yaml":                     {"config is no setting"},
		"magic: 1":                               {"magic is no setting; docs/configuration.md"},
		"listen: [a, b]":                         {"line 1: listen must be one value"},
		"listen:":                                {"line 1: listen must be one value"},
		"users:\n  ann: 1":                       {"users must be a value or a list of values"},
		"users: [[ann]]":                         {"users must be a list of plain values"},
		"- listen":                               {"it must hold names and values"},
		"listen: a\nlisten: b":                   {"line 2: listen is there twice"},
		"listen: {":                              {"line 1"},
		"leeway: soon":                           {"--leeway", "soon"},
		"limit-rooms: many":                      {"--limit-rooms", "many"},
		"limit-rooms: -1":                        {"-limit-rooms must be between 1 and"},
		"media-operations: 0":                    {"-media-operations and -media-waiting must be 1 or more"},
		"leeway: 2h":                             {"-leeway must be between 0s and 1h"},
		"max-bad-token-delay: 1ms":               {"-max-bad-token-delay between"},
		"secret: short":                          {"-secret must have 32 bytes", "openssl rand"},
		"trusted-proxies: proxy.example.com":     {`"proxy.example.com" is neither an address such as 10.0.0.7`},
		"origins: example.com\nusers: [a, b]":    {"origin \"example.com\" is not like https://app.example.com"},
		"ring-timeout: 0s\nmedia-lost-after: 2h": {"-ring-timeout must be between 1s and 10m0s, not 0s", "-media-lost-after must be between 100ms and 1m0s, not 2h0m0s"},
		"resume-window: 1500ms":                  {"-resume-window must be whole seconds"},
		"record-timeout: 10":                     {"--record-timeout", "10"},
		"keys: /nowhere/keys.json":               {"-keys: key set", "/nowhere/keys.json"},
	} {
		c, err := parsed(t, file)
		if err == nil {
			_, err = c.auth(nil)
		}
		if err == nil {
			err = c.limitFlags.apply(&server.Config{})
		}
		for _, want := range wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", file, err, want)
			}
		}
	}
}

// The binary's defaults are the server's.
func TestConfigDefaults(t *testing.T) {
	c, err := parsed(t, "")
	if err != nil {
		t.Fatal(err)
	}
	want, err := server.Limits{}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.limits(); got != want {
		t.Errorf("the flags' limits are %+v, the server's %+v", got, want)
	}
	var cfg server.Config
	if err := c.limitFlags.apply(&cfg); err != nil {
		t.Fatal(err)
	}
	if want, err := (server.Admission{}).WithDefaults(); err != nil || cfg.Admission != want {
		t.Errorf("the flags' admission is %+v, the server's %+v, %v", cfg.Admission, want, err)
	}
}

// The times that the flags say are the server's, and what a client is told.
func TestTimeouts(t *testing.T) {
	c, err := parsed(t, "ring-timeout: 20s\nresume-window: 2m", "--record-timeout", "3s")
	if err != nil {
		t.Fatal(err)
	}
	var cfg server.Config
	c.timeoutFlags.apply(&cfg)
	got := fmt.Sprintln(cfg.RingTimeout, cfg.ResumeWindow, cfg.RecordTimeout, c.MediaLostAfter)
	if want := fmt.Sprintln("20s 2m0s 3s", kms.DefaultLostAfter); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A mistake in the file ends the command with a line, before anything is begun.
func TestConfigMistakeIsUsage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.json")
	if err := os.WriteFile(path, []byte(`{"listn": "127.0.0.1:0"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out := &said{}
	if code := Main(context.Background(), []string{"serve", "-config", path}, out, out); code != exitUsage || !strings.Contains(out.String(), "line 1: listn is no setting: did you mean listen?") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// docs/configuration.md lists every flag, each with the environment variable that
// its name makes.
func TestConfigurationPage(t *testing.T) {
	const path, begin, end = "../../docs/configuration.md", "<!-- flags:begin -->\n", "<!-- flags:end -->"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the page has no place for the flags")
	}
	want := before + begin + flagTable(t) + end + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(page) {
		t.Error("docs/configuration.md is not what the flags are: go test ./cmd/callbench -run TestConfigurationPage -update")
	}
}

func flagTable(t *testing.T) string {
	t.Helper()
	parser, err := kong.New(&cli{}, kong.Vars{"version": ""})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| name | environment | default | meaning |\n| --- | --- | --- | --- |\n")
	for _, command := range parser.Model.Children {
		for _, f := range command.Flags {
			if command.Name != "serve" || f.Name == "help" {
				continue
			}
			env := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
			if len(f.Envs) != 1 || f.Envs[0] != env {
				t.Errorf("-%s has the environment variables %q, want %s", f.Name, f.Envs, env)
			}
			value := ""
			if f.HasDefault {
				value = "`" + f.Default + "`"
			}
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", f.Name, env, value, f.Help)
		}
	}
	return b.String()
}
