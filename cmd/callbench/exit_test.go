package main

import (
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// What CI of others relies on: `callbench help exit` and docs/ci.md say it.
func TestExitCodes(t *testing.T) {
	if testing.Short() {
		t.Skip("plays calls; run without -short")
	}
	clients := "clients alice=electron bob=electron\n"
	for name, c := range map[string]struct {
		args []string
		text string // of a scenario
		want int
	}{
		"passed":                     {nil, clients + "alice call bob\nexpect bob incoming\n", exitPass},
		"failed":                     {nil, clients + "alice call bob\nexpect bob incoming from=carol within=1s\n", exitFail},
		"nothing but skips":          {[]string{"-level", "0"}, clients + "need resume\nalice call bob\nexpect bob incoming\n", exitFail},
		"broken":                     {[]string{"-world", "local", "-kms", "ws://127.0.0.1:1/kurento"}, clients + "alice call bob\nexpect bob incoming\n", exitFail},
		"a file that is wrong":       {nil, clients + "alice cal bob\n", exitUsage},
		"a flag that is wrong":       {[]string{"-loud"}, clients + "alice call bob\n", exitUsage},
		"a server that is not there": {[]string{"-world", "remote", "-url", "ws://127.0.0.1:1/ws"}, clients + "alice call bob\n", exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"run", "-o", filepath.Join(t.TempDir(), "report")}, c.args...)
			var said strings.Builder
			if code := Main(t.Context(), append(args, written(t, "mine.call", c.text)), &said, io.Discard); code != c.want {
				t.Errorf("exit code %d, want %d\n%s", code, c.want, said.String())
			}
		})
	}
}
