package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/callbench/callbench/internal/bubble"
	"github.com/callbench/callbench/kmsmock/conform"
	"github.com/callbench/callbench/kmsmock/transcript"
)

type conformCmd struct {
	Paths []string `arg:"" name:"dir" type:"path" help:"Recordings (*.jsonl), or folders of them."`
	KMS   string   `name:"kms" placeholder:"ws://HOST:PORT/kurento" help:"Server to hold against the recordings. Without it, a mock is set up for each as the recording needs it, in virtual time where no sockets are needed."`
	Jobs  int      `short:"j" default:"0" help:"Recordings that are played at a time; 0: as many as there are processors, and one with -kms."`
}

// Run implements `callbench conform`.
func (c *conformCmd) Run(ctx context.Context, out *console) error {
	files, err := recordings(c.Paths)
	if err != nil {
		return err
	}
	results := make([]conformed, len(files))
	jobs := c.Jobs
	if jobs < 1 {
		jobs = runtime.GOMAXPROCS(0)
		if c.KMS != "" {
			jobs = 1
		}
	}
	next := make(chan int)
	var workers sync.WaitGroup
	for range jobs {
		workers.Go(func() {
			for i := range next {
				results[i] = c.play(ctx, files[i])
			}
		})
	}
	for i := range files {
		next <- i
	}
	close(next)
	workers.Wait()
	return tally(out, files, results)
}

// A conformed is what came of one recording.
type conformed struct {
	Differences []conform.Difference
	Skipped     string // why it was not played
	err         error  // it could not be played
}

// tally prints what came of each recording and how many went as recorded.
func tally(out io.Writer, files []string, results []conformed) error {
	passed, failed, skipped := 0, 0, 0
	for i, r := range results {
		name := filepath.Base(files[i])
		switch {
		case r.err != nil:
			failed++
			fmt.Fprintf(out, "FAIL  %s\n    %v\n", name, r.err)
		case r.Skipped != "":
			skipped++
			fmt.Fprintf(out, "SKIP  %s: %s\n", name, r.Skipped)
		case len(r.Differences) > 0:
			failed++
			fmt.Fprintf(out, "FAIL  %s\n", name)
			for _, d := range r.Differences {
				fmt.Fprintf(out, "    %s\n", d)
			}
		default:
			passed++
			fmt.Fprintf(out, "PASS  %s\n", name)
		}
	}
	summary := fmt.Sprintf("%d passed, %d failed", passed, failed)
	if skipped > 0 {
		summary += fmt.Sprintf(", %d skipped", skipped)
	}
	fmt.Fprintln(out, summary)
	if failed > 0 {
		return errFailed
	}
	if passed == 0 {
		return errors.New("nothing was played")
	}
	return nil
}

// recordings lists the files that paths name, folders with all that is in them.
func recordings(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		err := filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && (filepath.Ext(file) == ".jsonl" || file == path) {
				files = append(files, file)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no recordings (*.jsonl) in %s", strings.Join(paths, ", "))
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

func (c *conformCmd) play(ctx context.Context, file string) conformed {
	lines, err := transcript.ReadFile(file)
	if err != nil {
		return conformed{err: err}
	}
	needs := conform.NeedsOf(filepath.Base(file), lines)
	switch {
	case c.KMS != "" && needs.Skip() != "":
		return conformed{Skipped: "the recording is of a server with " + needs.Skip()}
	case c.KMS != "":
		target := conform.Target{URL: c.KMS, Dial: (&net.Dialer{}).DialContext, Shared: true}
		return conformed{Differences: conform.Play(ctx, file, lines, target)}
	case needs.Sockets:
		return conformed{Differences: conform.PlayMock(ctx, file, lines)}
	}
	return isolated(ctx, file)
}

// conformChild is the hidden command under which the binary starts itself to
// play one recording in virtual time.
const conformChild = "conform-child"

// isolated plays a recording in virtual time in a process of its own, because a
// leak, deadlock or panic in there ends the process.
func isolated(ctx context.Context, file string) conformed {
	self, err := os.Executable()
	if err != nil {
		return conformed{err: fmt.Errorf("find the binary: %w", err)}
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, self, conformChild)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(file), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return conformed{err: fmt.Errorf("%s\n%s", bubble.Diagnosis(stderr.String(), err), stderr.String())}
	}
	var r conformed
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		return conformed{err: fmt.Errorf("read what the process found: %w", err)}
	}
	return r
}

// playVirtual is the whole life of the process that isolated starts.
func playVirtual(in io.Reader, out io.Writer) {
	name, err := io.ReadAll(in)
	var lines []transcript.Line
	if err == nil {
		lines, err = transcript.ReadFile(string(name))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitUsage)
	}
	bubble.Run(func() {
		r := conformed{Differences: conform.PlayMock(context.Background(), string(name), lines)}
		if err := json.NewEncoder(out).Encode(r); err != nil {
			panic(err)
		}
	})
}
