package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/callbench/callbench/reports"
)

// progress prints a line for each scenario that has ended and, on a terminal, a
// line that changes for the one under way.
type progress struct {
	out         io.Writer
	total, done int
	live        bool
}

func newProgress(out *console, total int) *progress {
	f, ok := out.Writer.(*os.File)
	live := false
	if ok {
		info, err := f.Stat()
		live = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return &progress{out: out, total: total, live: live}
}

func (p *progress) begin(name string) {
	if p.live {
		fmt.Fprintf(p.out, "\r\033[K[%d/%d] %s …", p.done+1, p.total, name)
	}
}

func (p *progress) end(s reports.Scenario) {
	p.done++
	if p.live {
		fmt.Fprint(p.out, "\r\033[K")
	}
	fmt.Fprintf(p.out, "[%d/%d] %-5s %s (%s in %s)\n", p.done, p.total, strings.ToUpper(string(s.Verdict)), s.Name,
		s.Took.Round(time.Millisecond), s.Wall.Round(time.Millisecond))
}
