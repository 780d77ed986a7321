package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/callbench/callbench/server"
)

// MySQLConfig says which database keeps what is permanent.
type MySQLConfig struct {
	// DSN names the database as github.com/go-sql-driver/mysql writes it:
	// user:password@tcp(host:port)/database. MySQL 8 or MariaDB 10.6, or later.
	DSN string
	// Dir is the folder of the journal, on a disk of this machine. What was
	// written and MySQL does not have yet is there.
	Dir string
	// Users are put into the table of users, as each other's contacts.
	Users []string
	// Refresh is how often users, contacts and blocks are read; 10 s.
	Refresh time.Duration
	Log     *slog.Logger // nil: no log
}

// beginPatience is how long a start waits for a database that hangs if it can do
// without.
const beginPatience = 10 * time.Second

// closePatience is how long Close lets the outbox go on emptying itself.
const closePatience = 5 * time.Second

// MySQL keeps in a MySQL or MariaDB what must outlast everything: History and the
// Archive that reads it, the Inbox, and Relations. What is written goes to a
// journal on this machine's disk first and to the database when it can take it, so
// that writes fail and wait for it as little as possible: neither the death of this
// process nor minutes without the database lose or double anything.
type MySQL struct {
	name      string // host and database, without user and password
	db        *sql.DB
	tables    *tables
	journal   *Journal
	outbox    *outbox
	inbox     *Inbox
	relations *Relations
	lastAlive time.Time // when the server before this one was last known to be there
	alive     *retrying
}

// OpenMySQL opens the journal and the database, whose tables it makes or brings up
// to date. A database that is away is waited for while the journal is used; but where
// there is none yet it is an error, since only the database knows what waits for
// whom, and who knows whom.
func OpenMySQL(ctx context.Context, cfg MySQLConfig) (_ *MySQL, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Refresh == 0 {
		cfg.Refresh = 10 * time.Second
	}
	m := &MySQL{name: nameOf(cfg.DSN)}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.abandon())
		}
	}()
	if m.db, err = openDB(cfg.DSN); err != nil {
		return nil, err
	}
	known := newRecovered()
	if m.journal, err = OpenJournal(cfg.Dir, known.take); err != nil {
		return nil, err
	}
	m.tables = &tables{db: m.db, users: cfg.Users, log: cfg.Log}
	m.relations = &Relations{tables: m.tables, file: filepath.Join(cfg.Dir, relationsFile), log: cfg.Log}
	if err := m.begin(ctx, known.marked); err != nil {
		return nil, err
	}
	m.outbox = newOutbox(m.journal, known.from, len(known.entries), applier{m.tables}.apply, cfg.Log)
	if m.inbox, err = openInbox(ctx, m.outbox, known, m.db); err != nil {
		return nil, err
	}
	m.outbox.start(m.inbox)
	m.lastAlive = wasAlive(cfg.Dir)
	if err := live(cfg.Dir); err != nil {
		return nil, fmt.Errorf("write to the journal's folder: %w", err)
	}
	m.alive = every(alivePause, func() { _ = live(cfg.Dir) }) // the journal will tell of a folder that is gone
	m.relations.keepFresh(cfg.Refresh)
	return m, nil
}

// begin makes the tables and reads who knows whom, or, if the database is away and
// the journal is known to have all that waits, has the tables made when it comes.
func (m *MySQL) begin(ctx context.Context, known bool) error {
	if known = known && m.relations.remembered(); known {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, beginPatience)
		defer cancel()
	}
	err := m.tables.make(ctx)
	switch {
	case err == nil:
		return m.relations.Refresh(ctx)
	case !away(err):
		return err
	case !known:
		return fmt.Errorf("%w (there is no journal yet that knows what the database does: it must be there at the first start)", err)
	}
	m.tables.await(err, m.relations)
	return m.relations.recall()
}

// nameOf is what a DSN may be called in public.
func nameOf(dsn string) string {
	c, err := mysql.ParseDSN(dsn)
	if err != nil {
		return "" // opening it will say why
	}
	return c.Addr + "/" + c.DBName
}

// String names the database: its address and name.
func (m *MySQL) String() string { return m.name }

// openDB prepares connections to a database.
func openDB(dsn string) (*sql.DB, error) {
	c, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("the DSN of MySQL, user:password@tcp(host:port)/database: %w", err)
	}
	if c.DBName == "" {
		return nil, errors.New("the DSN of MySQL names no database")
	}
	c.ParseTime, c.Loc, c.InterpolateParams = true, time.UTC, true
	c.Timeout, c.ReadTimeout, c.WriteTimeout = 5*time.Second, 30*time.Second, 30*time.Second
	c.Logger = &mysql.NopLogger{} // errors are returned as well
	if c.Params == nil {
		c.Params = make(map[string]string)
	}
	c.Params["time_zone"] = "'+00:00'"
	c.Params["sql_mode"] = "'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'" // nothing is cut short silently
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("the DSN of MySQL: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(4)
	db.SetConnMaxLifetime(time.Hour)
	return db, nil
}

// History writes rooms, members, calls and recordings.
func (m *MySQL) History() server.History { return history{m.outbox} }

// Archive reads what History wrote, as soon as the database has it.
func (m *MySQL) Archive() server.Archive { return archive{m.tables} }

// Inbox keeps messages.
func (m *MySQL) Inbox() *Inbox { return m.inbox }

// Relations are what the database says of users, contacts and blocks.
func (m *MySQL) Relations() *Relations { return m.relations }

// Ping reports whether the database is there, and its tables.
func (m *MySQL) Ping(ctx context.Context) error {
	if err := m.tables.there(); err != nil {
		return err
	}
	if err := m.db.PingContext(ctx); err != nil {
		return fmt.Errorf("ping MySQL: %w", err)
	}
	return nil
}

// Waiting is how many writes the database does not have yet.
func (m *MySQL) Waiting() int { return int(m.outbox.waiting.Load()) }

// Drained returns when the database has everything that was written before, or
// says how much is missing when ctx ends.
func (m *MySQL) Drained(ctx context.Context) error { return m.outbox.drained(ctx) }

// Close lets the database take what waits, if it can, and closes everything. What
// it does not take in time waits in the journal.
func (m *MySQL) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	_ = m.outbox.drained(ctx) // the next to open the journal goes on
	return m.abandon()
}

// abandon closes what is open.
func (m *MySQL) abandon() (err error) {
	if m.alive != nil {
		m.alive.close()
	}
	if m.tables != nil {
		m.tables.close()
	}
	if m.relations != nil {
		m.relations.close()
	}
	if m.outbox != nil {
		m.outbox.close()
	}
	if m.journal != nil {
		err = m.journal.Close()
	}
	if m.db != nil {
		err = errors.Join(err, m.db.Close())
	}
	return err
}

// MySQLTables is how many tables there are.
const MySQLTables = 9

// CheckMySQL reports what the server of a DSN says it is, and how many of its
// tables are there.
func CheckMySQL(ctx context.Context, dsn string) (version string, tables int, err error) {
	db, err := openDB(dsn)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.QueryRowContext(ctx, sqlVersion).Scan(&version); err != nil {
		return "", 0, fmt.Errorf("ask MySQL for its version: %w", err)
	}
	if err := db.QueryRowContext(ctx, sqlTables).Scan(&tables); err != nil {
		return "", 0, fmt.Errorf("ask MySQL for its tables: %w", err)
	}
	return version, tables, nil
}

const (
	sqlVersion = `SELECT VERSION()`
	sqlTables  = `SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()
		AND table_name IN ('rooms', 'room_members', 'recordings', 'calls', 'participants', 'users', 'contacts', 'blocks', 'messages')`
)
