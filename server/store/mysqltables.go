package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// awaitPause is how long it takes until a database that is away is tried again.
const awaitPause = time.Second

// errAway says that the database has not been there since the server started.
var errAway = errors.New("MySQL has been away since the start: its tables are not brought up to date yet")

// tables are those of a database. They are made, or brought up to date, before
// anything else is done with them.
type tables struct {
	db    *sql.DB
	users []string // each other's contacts
	log   *slog.Logger

	made atomic.Bool
	stop context.CancelFunc // nil: they were made at once
	done chan struct{}
}

// there is nil once the tables are made.
func (t *tables) there() error {
	if !t.made.Load() {
		return errAway
	}
	return nil
}

// make makes the tables and the users.
func (t *tables) make(ctx context.Context) error {
	if err := migrate(ctx, t.db); err != nil {
		return err
	}
	for i, a := range t.users {
		if err := t.change(ctx, sqlKnow, a); err != nil {
			return err
		}
		for _, b := range t.users[i+1:] {
			if err := t.change(ctx, sqlBefriend, a, b); err != nil {
				return err
			}
		}
	}
	t.made.Store(true)
	return nil
}

// change changes users, contacts or blocks.
func (t *tables) change(ctx context.Context, statement string, args ...any) error {
	if _, err := t.db.ExecContext(ctx, statement, args...); err != nil {
		return fmt.Errorf("change relations: %w", err)
	}
	return nil
}

// await has the tables made when the database comes, and then who knows whom read.
func (t *tables) await(err error, r *Relations) {
	t.log.Error("mysql.away", "error", err.Error())
	ctx, cancel := context.WithCancel(context.Background())
	t.stop, t.done = cancel, make(chan struct{})
	begun, told := time.Now(), err.Error()
	go func() {
		defer close(t.done)
		for {
			select {
			case <-time.After(awaitPause):
			case <-ctx.Done():
				return
			}
			err := t.make(ctx)
			if err == nil {
				break
			}
			if err.Error() != told && ctx.Err() == nil {
				told = err.Error()
				t.log.Error("mysql.away", "error", told)
			}
		}
		t.log.Warn("mysql.back", "after", time.Since(begun).String())
		if err := r.Refresh(ctx); err != nil && ctx.Err() == nil {
			t.log.Error("relations.failing", "error", err.Error())
		}
	}()
}

func (t *tables) close() {
	if t.stop != nil {
		t.stop()
		<-t.done
	}
}

// away tells an error of a database that cannot be reached, or takes nobody now, from
// one of a database that is there and refuses something for good.
func away(err error) bool {
	var refusal *mysql.MySQLError
	if errors.As(err, &refusal) {
		return refusal.Number == 1040 || refusal.Number == 1053 // too many connections, shutdown in progress
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, context.DeadlineExceeded)
}

// migrate makes the tables, or brings them up to date. Instances that start at the
// same time wait for each other.
func migrate(ctx context.Context, db *sql.DB) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to MySQL: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	var got sql.NullInt64
	if err := conn.QueryRowContext(ctx, sqlLock).Scan(&got); err != nil {
		return fmt.Errorf("lock MySQL's tables for their migration: %w", err)
	}
	if got.Int64 != 1 {
		return errors.New("lock MySQL's tables for their migration: another instance has held the lock for 20 s")
	}
	defer func() {
		_, unlock := conn.ExecContext(context.WithoutCancel(ctx), sqlUnlock)
		err = errors.Join(err, unlock)
	}()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectMySQL, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate MySQL's tables: %w", err)
	}
	return nil
}

// One lock is every instance's of one database server.
const (
	sqlLock   = `SELECT GET_LOCK('callbench.migrate', 20)`
	sqlUnlock = `DO RELEASE_LOCK('callbench.migrate')`
)
