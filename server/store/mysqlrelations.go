package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// Relations are server.Relations that the tables users, contacts and blocks hold.
// They are answered from memory, which is read anew every now and then; while the
// database is away they stay as they are.
type Relations struct {
	db      *sql.DB
	log     *slog.Logger
	known   atomic.Pointer[MemoryRelations]
	refresh *retrying
}

func openRelations(ctx context.Context, db *sql.DB, pause time.Duration, log *slog.Logger) (*Relations, error) {
	r := &Relations{db: db, log: log}
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	failing := false
	r.refresh = every(pause, func() {
		ctx, cancel := context.WithTimeout(context.Background(), max(pause, 5*time.Second))
		defer cancel()
		err := r.Refresh(ctx)
		if err != nil && !failing {
			log.Error("relations.failing", "error", err.Error())
		}
		failing = err != nil
	})
	return r, nil
}

func (r *Relations) close() { r.refresh.close() }

// The statements of relations. A contact is one in both directions, whichever is
// in the table.
const (
	sqlUsers    = `SELECT userId, '' FROM users`
	sqlContacts = `SELECT userId, contactId FROM contacts`
	sqlBlocks   = `SELECT userId, blockedId FROM blocks`
	sqlKnow     = `INSERT INTO users (userId, createdTime) VALUES (?, UTC_TIMESTAMP(3)) ON DUPLICATE KEY UPDATE userId = userId`
	sqlBefriend = `INSERT INTO contacts (userId, contactId) VALUES (?, ?) ON DUPLICATE KEY UPDATE userId = userId`
	sqlUnfriend = `DELETE FROM contacts WHERE userId = ? AND contactId = ?`
	sqlBlock    = `INSERT INTO blocks (userId, blockedId) VALUES (?, ?) ON DUPLICATE KEY UPDATE userId = userId`
	sqlUnblock  = `DELETE FROM blocks WHERE userId = ? AND blockedId = ?`
)

// Refresh reads the tables now.
func (r *Relations) Refresh(ctx context.Context) error {
	all := new(MemoryRelations)
	for _, t := range []struct {
		query string
		learn func(a, b string)
	}{
		{sqlUsers, func(a, _ string) { all.Know(a) }},
		{sqlContacts, all.link},
		{sqlBlocks, all.Block},
	} {
		pairs, err := read(ctx, r.db, "relations", func(scan func(...any) error) (pair [2]string, err error) {
			return pair, scan(&pair[0], &pair[1])
		}, t.query)
		if err != nil {
			return err
		}
		for _, p := range pairs {
			t.learn(p[0], p[1])
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
		if err := r.change(ctx, sqlKnow, u); err != nil {
			return err
		}
	}
	return r.Refresh(ctx)
}

// Befriend makes two users each other's contacts, and known.
func (r *Relations) Befriend(ctx context.Context, a, b string) error {
	for _, u := range []string{a, b} {
		if err := r.change(ctx, sqlKnow, u); err != nil {
			return err
		}
	}
	return r.changed(ctx, sqlBefriend, a, b)
}

// Unfriend ends what Befriend began.
func (r *Relations) Unfriend(ctx context.Context, a, b string) error {
	if err := r.change(ctx, sqlUnfriend, b, a); err != nil {
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

// changed is change, known at once.
func (r *Relations) changed(ctx context.Context, statement string, args ...any) error {
	if err := r.change(ctx, statement, args...); err != nil {
		return err
	}
	return r.Refresh(ctx)
}

func (r *Relations) change(ctx context.Context, statement string, args ...any) error {
	if _, err := r.db.ExecContext(ctx, statement, args...); err != nil {
		return fmt.Errorf("change relations: %w", err)
	}
	return nil
}
