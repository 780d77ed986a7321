package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// logFile is where the part's log is kept.
func (p *Part) logFile() string { return filepath.Join(p.stack.cfg.Dir, p.name+".log") }

// follow writes what the part says from then on to its log file, until it ends.
func (p *Part) follow(since time.Time) {
	options := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: true}
	if !since.IsZero() {
		options.Since = since.UTC().Format(time.RFC3339Nano)
	}
	p.stack.logs.Go(func() {
		if err := p.copyLog(options); err != nil && p.stack.life.Err() == nil {
			fmt.Fprintf(os.Stderr, "callbench: the log of %s: %v\n", p.name, err)
		}
	})
}

func (p *Part) copyLog(options client.ContainerLogsOptions) error {
	file, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	log, err := p.stack.engine.api.ContainerLogs(p.stack.life, p.box.ID, options)
	if err != nil {
		return err
	}
	defer context.AfterFunc(p.stack.life, func() { log.Close() })()
	_, err = stdcopy.StdCopy(file, file, log)
	return err
}
