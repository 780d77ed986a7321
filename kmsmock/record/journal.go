package record

import (
	"encoding/json"
	"log/slog"
	"time"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// An entry is a line to write: a note, or a frame with its line.
type entry struct {
	line  transcript.Line
	frame []byte
	at    time.Time
}

// backlog is how many lines may wait to be written before connections wait.
const backlog = 1 << 12

// A journal writes the transcript, so that connections need not wait for masks
// and disks: in the order of its entries, one Write a line.
type journal struct {
	entries chan entry
	done    chan struct{}
	out     *transcript.Writer
	mask    *mask // nil: nothing is masked
	log     *slog.Logger
	err     error // the first; once done

	asked map[string]map[string]time.Time // when, by connection and id
}

func newJournal(cfg Config) *journal {
	j := &journal{entries: make(chan entry, backlog), done: make(chan struct{}), out: transcript.NewWriter(cfg.Out), log: cfg.Log,
		asked: map[string]map[string]time.Time{}}
	if cfg.Mask {
		j.mask = newMask()
	}
	go j.run()
	return j
}

func (j *journal) note(at time.Time, l transcript.Line) {
	l.Dir = transcript.Note
	j.write(entry{line: l, at: at})
}

func (j *journal) write(e entry) { j.entries <- e }

// close waits until all is written. Nothing may be written any more.
func (j *journal) close() error {
	close(j.entries)
	<-j.done
	return j.err
}

func (j *journal) run() {
	defer close(j.done)
	for e := range j.entries {
		if err := j.put(e); err != nil && j.err == nil {
			j.err = err
			j.log.Error("record.write", "err", err)
		}
	}
}

func (j *journal) put(e entry) error {
	l := e.line
	if l.Dir != transcript.Note {
		l.Took = j.took(l, e)
		frame := e.frame
		if j.mask != nil {
			frame = []byte(j.mask.text(string(frame)))
		}
		l.SetFrame(frame)
	} else if j.mask != nil {
		j.mask.note(&l)
	}
	return j.out.Write(l, e.at)
}

// took is how long a response took since its request on the same connection, in ms.
func (j *journal) took(l transcript.Line, e entry) float64 {
	var m struct {
		ID     json.RawMessage
		Method *string
	}
	if json.Unmarshal(e.frame, &m) != nil || len(m.ID) == 0 {
		return 0
	}
	if j.asked[l.Conn] == nil {
		j.asked[l.Conn] = map[string]time.Time{}
	}
	pending := j.asked[l.Conn]
	if l.Dir == transcript.Send {
		pending[string(m.ID)] = e.at
		return 0
	}
	at, ok := pending[string(m.ID)]
	if !ok || m.Method != nil {
		return 0
	}
	delete(pending, string(m.ID))
	return milliseconds(e.at.Sub(at))
}
