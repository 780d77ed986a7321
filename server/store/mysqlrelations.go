package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// relationsFile is the name, in the journal's folder, of the copy of the relations
// that a server begins with when the database is away.
const relationsFile = "relations.gob"

// Relations are server.Relations that the tables users, contacts and blocks hold.
// They are answered from memory, which is read anew every now and then; while the
// database is away they stay as they are, over a restart too.
type Relations struct {
	tables  *tables
	file    string
	log     *slog.Logger
	known   atomic.Pointer[MemoryRelations]
	refresh *retrying // nil until it is kept fresh

	mu  sync.Mutex // one refreshes at a time
	sum [sha256.Size]byte
}

// pairs are the rows of the tables users, whose second column is empty, contacts and
// blocks.
type pairs [3][][2]string

// keepFresh reads the tables after each pause.
func (r *Relations) keepFresh(pause time.Duration) {
	failing := false
	r.refresh = every(pause, func() {
		if r.tables.there() != nil {
			return // that was told, and is waited for
		}
		ctx, cancel := context.WithTimeout(context.Background(), max(pause, 5*time.Second))
		defer cancel()
		err := r.Refresh(ctx)
		if err != nil && !failing {
			r.log.Error("relations.failing", "error", err.Error())
		}
		failing = err != nil
	})
}

func (r *Relations) close() {
	if r.refresh != nil {
		r.refresh.close()
	}
}

// The statements of relations. A contact is one in both directions, whichever is
// in the table.
const (
	sqlUsers    = `SELECT userId, '' FROM users ORDER BY userId`
	sqlContacts = `SELECT userId, contactId FROM contacts ORDER BY userId, contactId`
	sqlBlocks   = `SELECT userId, blockedId FROM blocks ORDER BY userId, blockedId`
	sqlKnow     = `INSERT INTO users (userId, createdTime) VALUES (?, UTC_TIMESTAMP(3)) ON DUPLICATE KEY UPDATE userId = userId`
	sqlBefriend = `INSERT INTO contacts (userId, contactId) VALUES (?, ?) ON DUPLICATE KEY UPDATE userId = userId`
	sqlUnfriend = `DELETE FROM contacts WHERE userId = ? AND contactId = ?`
	sqlBlock    = `INSERT INTO blocks (userId, blockedId) VALUES (?, ?) ON DUPLICATE KEY UPDATE userId = userId`
	sqlUnblock  = `DELETE FROM blocks WHERE userId = ? AND blockedId = ?`
)

// Refresh reads the tables now.
func (r *Relations) Refresh(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all pairs
	for i, query := range []string{sqlUsers, sqlContacts, sqlBlocks} {
		var err error
		all[i], err = readMade(ctx, r.tables, "relations", func(scan func(...any) error) (pair [2]string, err error) {
			return pair, scan(&pair[0], &pair[1])
		}, query)
		if err != nil {
			return err
		}
	}
	r.known.Store(all.known())
	return r.remember(all)
}

// known are the relations that rows say.
func (p pairs) known() *MemoryRelations {
	all := new(MemoryRelations)
	for i, learn := range []func(a, b string){func(a, _ string) { all.Know(a) }, all.link, all.Block} {
		for _, pair := range p[i] {
			learn(pair[0], pair[1])
		}
	}
	return all
}

// remember keeps a copy of what has changed. r.mu is held.
func (r *Relations) remember(p pairs) error {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(p); err != nil {
		return fmt.Errorf("encode relations: %w", err)
	}
	sum := sha256.Sum256(b.Bytes())
	if sum == r.sum {
		return nil
	}
	if err := replaceFile(r.file, b.Bytes()); err != nil {
		return fmt.Errorf("keep a copy of the relations: %w", err)
	}
	r.sum = sum
	return nil
}

// replaceFile writes a file whole or not at all.
func replaceFile(name string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// remembered reports whether there is a copy.
func (r *Relations) remembered() bool {
	_, err := os.Stat(r.file)
	return err == nil
}

// recall goes on with the copy, and with the users of the tables, who will be known.
func (r *Relations) recall() error {
	content, err := os.ReadFile(r.file)
	if err != nil {
		return fmt.Errorf("read the copy of the relations: %w", err)
	}
	var p pairs
	if err := gob.NewDecoder(bytes.NewReader(content)).Decode(&p); err != nil {
		return fmt.Errorf("read the copy of the relations in %s: %w", r.file, err)
	}
	all := p.known()
	for i, a := range r.tables.users {
		all.Know(a)
		for _, b := range r.tables.users[i+1:] {
			all.link(a, b)
		}
	}
	r.known.Store(all)
	return nil
}

// Reaches implements server.Relations.
func (r *Relations) Reaches(from, to string) bool { return r.known.Load().Reaches(from, to) }

// Contacts implements server.Relations. They are sorted.
func (r *Relations) Contacts(user string) []string { return r.known.Load().Contacts(user) }

// Know makes users known.
func (r *Relations) Know(ctx context.Context, users ...string) error {
	for _, u := range users {
		if err := r.tables.change(ctx, sqlKnow, u); err != nil {
			return err
		}
	}
	return r.Refresh(ctx)
}

// Befriend makes two users each other's contacts, and known.
func (r *Relations) Befriend(ctx context.Context, a, b string) error {
	for _, u := range []string{a, b} {
		if err := r.tables.change(ctx, sqlKnow, u); err != nil {
			return err
		}
	}
	return r.changed(ctx, sqlBefriend, a, b)
}

// Unfriend ends what Befriend began.
func (r *Relations) Unfriend(ctx context.Context, a, b string) error {
	if err := r.tables.change(ctx, sqlUnfriend, b, a); err != nil {
		return err
	}
	return r.changed(ctx, sqlUnfriend, a, b)
}

// Block has a user not be reached by another.
func (r *Relations) Block(ctx context.Context, user, other string) error {
	return r.changed(ctx, sqlBlock, user, other)
}

// Unblock ends what Block began.
func (r *Relations) Unblock(ctx context.Context, user, other string) error {
	return r.changed(ctx, sqlUnblock, user, other)
}

// changed makes a change that is known at once.
func (r *Relations) changed(ctx context.Context, statement string, args ...any) error {
	if err := r.tables.change(ctx, statement, args...); err != nil {
		return err
	}
	return r.Refresh(ctx)
}

// retrying makes a function run after each pause until it is stopped.
type retrying struct {
	stop chan struct{}
	once sync.Once
	done chan struct{}
}

func every(pause time.Duration, f func()) *retrying {
	r := &retrying{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f()
			case <-r.stop:
				return
			}
		}
	}()
	return r
}

func (r *retrying) close() {
	r.once.Do(func() { close(r.stop) })
	<-r.done
}
