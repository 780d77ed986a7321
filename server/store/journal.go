package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// journalFile is the journal's name in its folder.
const journalFile = "journal.db"

// commitPause is the least time from the end of a commit of several writes to the
// next: what comes meanwhile shares its fsync. Who writes alone waits for nobody.
const commitPause = 10 * time.Millisecond

// errClosed is what becomes of a write to a journal that was closed.
var errClosed = errors.New("the journal is closed")

// Journal is a file on this machine's disk in which writes are safe from a
// process that is killed and a machine that loses power. Writes that come at
// the same time are committed together. One process has it open at a time.
type Journal struct {
	db   *bolt.DB
	wake chan struct{} // of capacity 1: something waits
	done chan struct{} // closed when the last commit has ended

	mu      sync.Mutex
	waiting []journalWrite
	closed  bool
}

// journalWrite is what somebody wants written, and what it does then.
type journalWrite struct {
	do   func(*bolt.Tx) error // nil: nothing, but everything before it
	then func(error)          // nil: nothing
}

// OpenJournal opens the journal in a folder, and makes both if need be.
func OpenJournal(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the journal's folder: %w", err)
	}
	db, err := bolt.Open(filepath.Join(dir, journalFile), 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType, NoFreelistSync: true})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open the journal in %s: another process has it open", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open the journal in %s: %w", dir, err)
	}
	j := &Journal{db: db, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go j.run()
	return j, nil
}

// Do has a write committed, after all that were given before, and returns at
// once. then is told when it is safe, or why it is not; calls of then follow the
// order of the writes, and must be quick. Neither is called with locks held.
func (j *Journal) Do(write func(*bolt.Tx) error, then func(error)) {
	if !j.add(journalWrite{write, then}) && then != nil {
		then(errClosed)
	}
}

func (j *Journal) add(w journalWrite) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return false
	}
	j.waiting = append(j.waiting, w)
	select {
	case j.wake <- struct{}{}:
	default: // it was woken already
	}
	return true
}

// Write is Do that returns when the write is safe. If ctx ends before, the write
// may be committed all the same.
func (j *Journal) Write(ctx context.Context, write func(*bolt.Tx) error) error {
	done := make(chan error, 1)
	j.Do(write, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begun reports whether an inbox has ever used the journal.
func (j *Journal) begun() (known bool, err error) {
	err = j.db.View(func(tx *bolt.Tx) error {
		known = tx.Bucket(lettersBucket) != nil
		return nil
	})
	return known, err
}

// View reads what was committed.
func (j *Journal) View(read func(*bolt.Tx) error) error { return j.db.View(read) }

// Close commits what waits and closes the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	if !j.closed {
		j.closed = true
		close(j.wake)
	}
	j.mu.Unlock()
	<-j.done
	return j.db.Close()
}

// run commits until the journal is closed.
func (j *Journal) run() {
	defer close(j.done)
	for range j.wake {
		all := j.take()
		j.commit(all)
		if len(all) > 1 {
			time.Sleep(commitPause)
		}
	}
	j.commit(j.take())
}

func (j *Journal) take() []journalWrite {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := j.waiting
	j.waiting = nil
	return all
}

// commit writes all of these in one transaction. If one of them cannot be
// written they are tried one by one, so that it fails alone.
func (j *Journal) commit(all []journalWrite) {
	if len(all) == 0 {
		return
	}
	err := j.db.Update(func(tx *bolt.Tx) error {
		for _, w := range all {
			if w.do == nil {
				continue
			}
			if err := w.do(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && len(all) > 1 {
		for _, w := range all {
			j.commit([]journalWrite{w})
		}
		return
	}
	if err != nil {
		err = fmt.Errorf("commit to the journal: %w", err)
	}
	for _, w := range all {
		if w.then != nil {
			w.then(err)
		}
	}
}
