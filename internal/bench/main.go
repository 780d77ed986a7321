// Command bench measures the signaling server against a small plain gorilla hub
// in one run, and prints what docs/performance.md sets as goals. `make bench`
// runs it.
//
// Server and hub are processes of their own, so that only they are measured;
// the clients are in this one, and the same for both. What is compared is
// compared in alternating rounds, of which the median counts: a ratio within
// one run says something on a machine where a figure alone does not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// config is what a run measures, and with what.
type config struct {
	conns   int           // idle connections
	pairs   int           // of users who write to each other
	rate    int           // messages a second
	long    time.Duration // of a round
	rounds  int
	changes int // of presence
	calls   int // a round
	redis   string
	mysql   string // "" if there is none
	kms     string
	profile string // folder for CPU profiles of the server; "" for none
	only    string // a part; "" for all
}

func main() {
	if role := os.Getenv(roleVar); role != "" {
		exit(child(role))
	}
	var c config
	flag.IntVar(&c.conns, "conns", 9000, "idle connections; fewer if the limit of open files is lower")
	flag.IntVar(&c.pairs, "pairs", 200, "pairs of users of whom one writes to the other")
	flag.IntVar(&c.rate, "rate", 5000, "messages a second")
	flag.DurationVar(&c.long, "for", 1500*time.Millisecond, "length of a round of messages")
	flag.IntVar(&c.rounds, "rounds", 7, "alternating rounds")
	flag.IntVar(&c.changes, "changes", 200, "changes of presence")
	flag.IntVar(&c.calls, "calls", 8, "calls of a round, one after the other")
	flag.StringVar(&c.redis, "redis", os.Getenv("CALLBENCH_REDIS_ADDR"), "a Redis; one is started if not given")
	flag.StringVar(&c.mysql, "mysql", os.Getenv("CALLBENCH_MYSQL_DSN"), "a MySQL or MariaDB, as root@tcp(127.0.0.1:3306)/; a MariaDB is started if not given")
	flag.StringVar(&c.kms, "kms", os.Getenv("CALLBENCH_KMS_URL"), "a Kurento, for the set-up of calls; left out if not given")
	flag.StringVar(&c.profile, "profile", "", "folder for CPU and heap profiles of the server")
	flag.StringVar(&c.only, "only", "", "measure only idle, relay, presence or setup")
	flag.Parse()
	if c.conns < 1 || c.pairs < 1 || c.rate < 1 || c.long <= 0 || c.rounds < 1 || c.changes < 1 || c.calls < 1 {
		exit(errors.New("every number must be positive"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, c)
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// part is one thing that is measured.
type part struct {
	name    string
	measure func(context.Context, *bench) error
}

var parts = []part{{"idle", idle}, {"relay", relay}, {"presence", presence}, {"setup", setup}}

// bench is a run.
type bench struct {
	config
	table table
}

func run(ctx context.Context, c config) error {
	stop, err := c.startRedis()
	if err != nil {
		return err
	}
	defer stop()
	b := &bench{config: c}
	for _, p := range parts {
		if c.only != "" && c.only != p.name {
			continue
		}
		if err := p.measure(ctx, b); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", p.name, err), b.table.print(os.Stdout))
		}
	}
	return b.table.print(os.Stdout)
}
