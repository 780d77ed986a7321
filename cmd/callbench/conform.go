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
	"time"

	"github.com/callbench/callbench/internal/bubble"
	"github.com/callbench/callbench/kmsmock/conform"
	"github.com/callbench/callbench/kmsmock/transcript"
	"github.com/callbench/callbench/kurento"
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
	if c.KMS != "" {
		if err := answers(ctx, c.KMS); err != nil {
			return fmt.Errorf("-kms: %w; nothing was played", err)
		}
	}
	results := make([]conformed, len(files))
	jobs := c.Jobs
	if jobs < 1 {
		jobs = runtime.GOMAXPROCS(0)
		if c.KMS != "" {
			jobs = 1
		}
	}
	next, ended := make(chan int, len(files)), make([]chan struct{}, len(files))
	var workers sync.WaitGroup
	for i := range files {
		ended[i] = make(chan struct{})
		next <- i
	}
	close(next)
	for range jobs {
		workers.Go(func() {
			for i := range next {
				results[i] = c.play(ctx, files[i])
				close(ended[i])
			}
		})
	}
	var t tally
	for i, file := range files {
		out.status(fmt.Sprintf("%d/%d %s", i+1, len(files), filepath.Base(file)))
		<-ended[i]
		out.clear()
		t.print(out, filepath.Base(file), results[i])
	}
	workers.Wait()
	return t.sum(out)
}

// answers tells whether a server speaks Kurento's protocol at url.
func answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client, err := kurento.Dial(ctx, kurento.Config{URL: url})
	if err != nil {
		return err
	}
	return client.Close()
}

// A conformed is what came of one recording.
type conformed struct {
	Differences []conform.Difference
	Skipped     string // why it was not played
	stopped     bool   // the command was interrupted before its end
	err         error  // it could not be played
}

// A tally counts what came of recordings.
type tally struct{ passed, failed, skipped, stopped int }

// print tells what came of one recording, as soon as those before it have ended.
func (t *tally) print(out io.Writer, name string, r conformed) {
	switch {
	case r.stopped:
		t.stopped++
	case r.err != nil:
		t.failed++
		fmt.Fprintf(out, "FAIL  %s\n    %v\n", name, r.err)
	case r.Skipped != "":
		t.skipped++
		fmt.Fprintf(out, "SKIP  %s: %s\n", name, r.Skipped)
	case len(r.Differences) > 0:
		t.failed++
		fmt.Fprintf(out, "FAIL  %s\n", name)
		for _, d := range r.Differences {
			fmt.Fprintf(out, "    %s\n", d)
		}
	default:
		t.passed++
		fmt.Fprintf(out, "PASS  %s\n", name)
	}
}

// sum prints how many went as recorded, and gives the verdict.
func (t *tally) sum(out io.Writer) error {
	text := fmt.Sprintf("%d passed, %d failed", t.passed, t.failed)
	if t.skipped > 0 {
		text += fmt.Sprintf(", %d skipped", t.skipped)
	}
	if t.stopped > 0 {
		text += fmt.Sprintf(", %d not played to the end", t.stopped)
	}
	fmt.Fprintln(out, text)
	switch {
	case t.failed > 0 || t.stopped > 0:
		return errFailed
	case t.passed == 0:
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
	r := c.playFile(ctx, file)
	r.stopped = ctx.Err() != nil
	return r
}

func (c *conformCmd) playFile(ctx context.Context, file string) conformed {
	lines, err := transcript.ReadFile(file)
	switch {
	case err != nil:
		return conformed{err: err}
	case !slices.ContainsFunc(lines, func(l transcript.Line) bool { return l.Conn != "" || l.Dir == transcript.Send }):
		return conformed{err: fmt.Errorf("%s: no client was connected in it", file)}
	case ctx.Err() != nil:
		return conformed{}
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
