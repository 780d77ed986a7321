package trace

import (
	"io"
	"sync"
	"time"
)

// Log collects the events of one run in the order in which they happened. It is
// safe for concurrent use. Its clock starts with New.
type Log struct {
	start time.Time

	mu    sync.Mutex
	out   io.Writer
	buf   []byte
	sinks []func(Event)
	err   error
}

// New starts a log that writes its file to out; nil keeps no file.
func New(out io.Writer) *Log {
	return &Log{start: time.Now(), out: out}
}

// Watch calls f for every later event, in order and before Add returns. f must
// be quick and must not call Add.
func (l *Log) Watch(f func(Event)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sinks = append(l.sinks, f)
}

// Add records that something happened to actor now.
func (l *Log) Add(actor string, kind Kind, attrs ...Attr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(Event{T: time.Since(l.start), Actor: actor, Kind: kind, Attrs: attrs})
}

// Replay records an event that happened elsewhere, such as in a child process,
// with the time that it carries.
func (l *Log) Replay(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(e)
}

func (l *Log) append(e Event) {
	if l.out != nil {
		l.buf = e.Append(l.buf[:0])
		if _, err := l.out.Write(l.buf); err != nil && l.err == nil {
			l.err = err
		}
	}
	for _, f := range l.sinks {
		f(e)
	}
}

// Now is the time since the run began.
func (l *Log) Now() time.Duration { return time.Since(l.start) }

// Err is the first error of writing the file.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
