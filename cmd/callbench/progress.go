package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/callbench/callbench/reports"
)

// console is where commands print: results on standard output, what changes
// while they run on standard error, and that only if it is a terminal.
type console struct {
	io.Writer
	err io.Writer
}

// terminal reports whether somebody watches standard error.
func (c *console) terminal() bool {
	f, ok := c.err.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// status replaces the line that changes.
func (c *console) status(text string) {
	if c.terminal() {
		fmt.Fprintf(c.err, "\r\033[K%s", text)
	}
}

// clear removes the line that changes.
func (c *console) clear() { c.status("") }

// progress prints a line for each scenario that has ended, and shows which one
// is under way and for how long.
type progress struct {
	out         *console
	total, done int
	stop        chan struct{}
	stopped     chan struct{}
}

func (p *progress) begin(name string) {
	p.stop, p.stopped = make(chan struct{}), make(chan struct{})
	go p.tick(name, time.Now())
}

func (p *progress) tick(name string, begin time.Time) {
	defer close(p.stopped)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		p.out.status(fmt.Sprintf("[%d/%d] %s %s", p.done+1, p.total, name, time.Since(begin).Round(time.Second)))
		select {
		case <-second.C:
		case <-p.stop:
			return
		}
	}
}

func (p *progress) end(s reports.Scenario) {
	close(p.stop)
	<-p.stopped
	p.done++
	p.out.clear()
	fmt.Fprintf(p.out, "[%d/%d] %-5s %s (%s in %s)\n", p.done, p.total, strings.ToUpper(string(s.Verdict)), s.Name,
		s.Took.Round(time.Millisecond), s.Wall.Round(time.Millisecond))
}
