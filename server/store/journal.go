package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// commitPause is the least time from the end of a commit of several writes to the
// next: what comes meanwhile shares its fsync. Who writes alone waits for nobody.
const commitPause = 20 * time.Millisecond

// segmentBytes is how long a file of the journal is before the next is begun.
const segmentBytes = 16 << 20

// errClosed is what becomes of a write to a journal that was closed.
var errClosed = errors.New("the journal is closed")

// Journal is a log on this machine's disk in which records are safe from a process
// that is killed and a machine that loses power. It is a row of files, the segments,
// of which the last is written to at its end; a record's position is the number of
// bytes before it since the journal began. Records that come at the same time are
// written and synchronised together. One process has a journal open at a time.
type Journal struct {
	dir     string
	lock    *os.File
	segment int64         // bytes after which a segment is full
	wake    chan struct{} // of capacity 1: something waits
	done    chan struct{} // closed when the last commit has ended
	file    *os.File      // of the last segment; the committer's
	broken  error         // why nothing can be written any more; the committer's

	mu       sync.Mutex
	waiting  batch
	closed   bool
	failures int       // commits that were not written
	segments []segment // the oldest first; at least one
}

// batch are records that are written together, and what is to be done then.
type batch struct {
	bytes   []byte
	writers int
	then    []func(error)
}

// segment is a file of the journal, named for the position at which it begins.
type segment struct{ base, end uint64 }

func (s segment) name() string { return fmt.Sprintf("journal-%016x.log", s.base) }

// OpenJournal opens the journal in a folder, makes both if need be, and hands over
// every record and its position, in their order. What a death cut off in the middle
// of a write was told to nobody and is removed. take must not keep the record.
func OpenJournal(dir string, take func(at uint64, record []byte) error) (_ *Journal, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the journal's folder: %w", err)
	}
	j := &Journal{dir: dir, segment: segmentBytes, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if j.lock, err = lockFile(filepath.Join(dir, "journal.lock")); err != nil {
		return nil, fmt.Errorf("open the journal in %s: %w", dir, err)
	}
	if err := j.recover(take); err != nil {
		return nil, errors.Join(fmt.Errorf("open the journal in %s: %w", dir, err), j.closeFiles())
	}
	go j.run()
	return j, nil
}

// Do has a record, which it copies, written after all that were given before, and
// returns at once.
// then, which may be nil, is told when it is safe, or why it is not; calls of then
// follow the order of the records, and must be quick. It is not called with locks held.
func (j *Journal) Do(record []byte, then func(error)) {
	if !j.add(record, then, true) && then != nil {
		then(errClosed)
	}
}

// Lazy has a record written along with the next one that somebody waits for. Nobody is
// told if that fails: see lost.
func (j *Journal) Lazy(record []byte) { j.add(record, nil, false) }

func (j *Journal) add(record []byte, then func(error), now bool) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return false
	}
	if record != nil {
		j.waiting.bytes = appendRecord(j.waiting.bytes, record)
	}
	if then != nil {
		j.waiting.then = append(j.waiting.then, then)
	}
	if !now {
		return true
	}
	j.waiting.writers++
	select {
	case j.wake <- struct{}{}:
	default: // it was woken already
	}
	return true
}

// Write is Do that returns when the record, which may be nil for none, and all before
// it are safe. If ctx ends before, the record may be written all the same.
func (j *Journal) Write(ctx context.Context, record []byte) error {
	done := make(chan error, 1)
	j.Do(record, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close writes what waits and closes the files.
func (j *Journal) Close() error {
	j.mu.Lock()
	first := !j.closed
	if first {
		j.closed = true
		close(j.wake)
	}
	j.mu.Unlock()
	<-j.done
	if !first {
		return nil
	}
	return j.closeFiles()
}

func (j *Journal) closeFiles() (err error) {
	if j.file != nil {
		err = j.file.Close()
	}
	return errors.Join(err, j.lock.Close())
}

// run commits until the journal is closed.
func (j *Journal) run() {
	defer close(j.done)
	var spare batch
	for range j.wake {
		b := j.take(spare)
		j.commit(b)
		if b.writers > 1 {
			time.Sleep(commitPause)
		}
		spare = b.emptied()
	}
	j.commit(j.take(batch{}))
}

// take takes what waits, and leaves an empty batch in its place.
func (j *Journal) take(empty batch) batch {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.waiting
	j.waiting = empty
	return b
}

// keepBatch is how many bytes of a batch are kept for the next.
const keepBatch = 1 << 20

// emptied is an empty batch that uses this one's memory.
func (b batch) emptied() batch {
	clear(b.then)
	if cap(b.bytes) > keepBatch {
		return batch{}
	}
	return batch{bytes: b.bytes[:0], then: b.then[:0]}
}

// commit makes records safe and tells so.
func (j *Journal) commit(b batch) {
	var err error
	if len(b.bytes) > 0 {
		if err = j.store(b.bytes); err != nil {
			err = fmt.Errorf("write to the journal: %w", err)
			j.mu.Lock()
			j.failures++
			j.mu.Unlock()
		}
	}
	for _, then := range b.then {
		then(err)
	}
}

// store writes records behind all others. What cannot be written whole is taken back,
// so that the next may be.
func (j *Journal) store(records []byte) error {
	if j.broken != nil {
		return j.broken
	}
	last := j.last()
	if last.end > last.base && last.end-last.base+uint64(len(records)) > uint64(j.segment) {
		if err := j.next(last.end); err != nil {
			return err
		}
		last = segment{last.end, last.end}
	}
	_, err := j.file.WriteAt(records, int64(last.end-last.base))
	if err == nil {
		err = syncData(j.file)
	}
	if err != nil {
		j.broken = j.file.Truncate(int64(last.end - last.base))
		return errors.Join(err, j.broken)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.segments[len(j.segments)-1].end += uint64(len(records))
	return nil
}

func (j *Journal) last() segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.segments[len(j.segments)-1]
}

// next begins a segment.
func (j *Journal) next(base uint64) error {
	s := segment{base, base}
	f, err := os.OpenFile(filepath.Join(j.dir, s.name()), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := syncDir(j.dir); err != nil { // the segment before it goes on
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	old := j.file
	j.file = f
	j.mu.Lock()
	defer j.mu.Unlock()
	j.segments = append(j.segments, s)
	if old == nil {
		return nil
	}
	return old.Close()
}

// lost is how many commits have failed: what was given to Lazy may have been in one.
func (j *Journal) lost() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failures
}

// End is the position behind the last record that is safe.
func (j *Journal) End() uint64 { return j.last().end }

// oldest is the oldest segment, and how many bytes all of them have.
func (j *Journal) oldest() (s segment, all uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.segments[0], j.segments[len(j.segments)-1].end - j.segments[0].base
}

// drop removes the oldest segment, which is not the last.
func (j *Journal) drop() error {
	s, _ := j.oldest()
	if err := os.Remove(filepath.Join(j.dir, s.name())); err != nil { // nor is one behind it removed then: no gap may be left
		return fmt.Errorf("remove a segment of the journal: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.segments = j.segments[1:]
	return nil
}
