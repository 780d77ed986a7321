package server_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/callbench/callbench/server"
)

var update = flag.Bool("update", false, "write the generated part of docs/calls.md")

// TestStates plays every cell of the table.
func TestStates(t *testing.T) {
	for _, r := range table {
		for i, state := range callStates {
			t.Run(r.event+" in "+state, func(t *testing.T) {
				tune := func(c *server.Config) {
					slow := slowRooms{State: c.State}
					switch state {
					case "dialing":
						slow.open = hold
					case "accepting":
						slow.join = hold
					}
					c.State = slow
					if r.tune != nil {
						r.tune(c)
					}
				}
				bubble(t, tune, func(t *testing.T, w *world) {
					p := enterState(w, state, r.second)
					if got := p.stands(p.id); got != state {
						t.Fatalf("the call is %s", got)
					}
					if r.ready != nil {
						r.ready(p)
					}
					if got := p.cell(r.do); got != r.cells[i] || got == "" {
						t.Errorf("\n got %s\nwant %s", got, r.cells[i])
					}
				})
			})
		}
	}
}

// TestStatesPage checks the table of docs/calls.md.
func TestStatesPage(t *testing.T) {
	const path, begin, end = "../docs/calls.md", "<!-- states:begin -->\n", "<!-- states:end -->"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(page), begin)
	_, after, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatal("the page lacks the marks around its table")
	}
	want := before + begin + stateTable() + end + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(page) {
		t.Error("the table differs (go test ./server -run TestStatesPage -update)")
	}
}

func stateTable() string {
	var b strings.Builder
	b.WriteString("| event | " + strings.Join(callStates, " | ") + " |\n" + strings.Repeat("| --- ", len(callStates)+1) + "|\n")
	for _, r := range table {
		b.WriteString("| " + r.event + " | " + strings.Join(r.cells[:], " | ") + " |\n")
	}
	return b.String()
}
