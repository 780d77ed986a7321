package world

import (
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/callbench/callbench/server/turn"
)

// coturnLog reads from Coturn's log, which must be verbose, what it holds: Coturn
// itself tells nobody who has not its command line interface.
type coturnLog struct {
	path string
	from int64 // where the log ended when the world began; what was before is not the world's
}

// openCoturnLog begins at the end of a log.
func openCoturnLog(path string) (*coturnLog, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read Coturn's log: %w", err)
	}
	return &coturnLog{path: path, from: info.Size()}, nil
}

// What Coturn 4.6 says of allocations: made, with the user behind the expiry;
// released by its client, or ended.
var (
	coturnMade = regexp.MustCompile(`session (\d+): new, realm=<[^>]*>, username=<\d+:([^>]*)>`)
	// One that starts anew has no allocations of before.
	coturnBegin = regexp.MustCompile(`Version Coturn-`)
	coturnOver  = regexp.MustCompile(`session (\d+): (?:refreshed, realm=<[^>]*>, username=<[^>]*>, lifetime=0\b|delete:)`)
)

func (l *coturnLog) allocations() ([]turn.Allocation, error) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil, fmt.Errorf("read Coturn's log: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(l.from, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read Coturn's log: %w", err)
	}
	log, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read Coturn's log: %w", err)
	}
	if begins := coturnBegin.FindAllIndex(log, -1); len(begins) > 0 {
		log = log[begins[len(begins)-1][0]:]
	}
	over := map[string]bool{}
	for _, m := range coturnOver.FindAllSubmatch(log, -1) {
		over[string(m[1])] = true
	}
	var live []turn.Allocation
	for _, m := range coturnMade.FindAllSubmatch(log, -1) {
		if id := string(m[1]); !over[id] {
			live = append(live, turn.Allocation{User: string(m[2]), Relay: "session " + id})
		}
	}
	return live, nil
}
