package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"

	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/scenarios/tokens"
	"github.com/callbench/callbench/scenarios/world"
)

// remoteFlags say what the remote world plays on.
type remoteFlags struct {
	URL      string     `name:"url" placeholder:"wss://HOST/ws" help:"Of the remote world: the signaling server."`
	Tokens   string     `placeholder:"SOURCE" help:"What clients show to the remote server: a file of user,token lines; cmd:COMMAND with {user}, which prints a token; sh:COMMAND for a shell, with $$CALLBENCH_USER; oauth:URL of a token endpoint; or jwt, signed here with CALLBENCH_JWT_SECRET (docs/remote.md)."`
	Users    string     `type:"existingfile" placeholder:"FILE" help:"Users that the remote server knows, as lines of user[,device]: they play the users of each script, in its order. If not given it knows users of the scripts' names."`
	CA       string     `name:"ca" type:"existingfile" placeholder:"FILE" help:"Certificates in PEM that wss:// servers may be signed with, besides those that this machine trusts."`
	Insecure bool       `help:"Do not verify the certificate of the remote server. The report says so."`
	Probes   probeFlags `embed:""`
}

// probeFlags name the parts of a system that are looked at beside its clients.
type probeFlags struct {
	Redis   string `placeholder:"HOST:PORT" help:"Redis of the remote server, or a redis:// URL, in the environment CALLBENCH_PROBE_REDIS: expectations about it are skipped without."`
	MySQL   string `name:"mysql" placeholder:"DSN" help:"MySQL of the remote server, user:password@tcp(HOST:PORT)/database, better in the environment as CALLBENCH_PROBE_MYSQL: expectations about the history are skipped without."`
	Metrics string `placeholder:"URL" help:"Prometheus metrics of the remote server: how much it says that it still holds."`
}

// remote is the stage of the remote world; nil if another one is played in. The
// server is asked who it is, unless that is known.
func (c *runCmd) remote(ctx context.Context, list []*scenarios.Scenario, turn *world.TURN) (*scenarios.Stage, error) {
	f := &c.Remote
	if c.World != "remote" {
		if name := f.first(); name != "" {
			return nil, fmt.Errorf("-%s is of the remote world; add -world remote", name)
		}
		return nil, nil
	}
	target, err := f.target()
	if err != nil {
		return nil, err
	}
	target.Probes.KMS, target.Probes.TURN, target.Level = c.Kms, turn, c.Level
	if c.Level == nil {
		if err := greet(ctx, &target, list); err != nil {
			return nil, err
		}
	}
	stage := world.RemoteStage(target, c.Seed)
	return &stage, nil
}

// first is the first flag that only the remote world has a use for, if it is given.
func (f *remoteFlags) first() string {
	for _, flag := range []struct {
		name  string
		given bool
	}{{"url", f.URL != ""}, {"tokens", f.Tokens != ""}, {"users", f.Users != ""}, {"ca", f.CA != ""}, {"insecure", f.Insecure},
		{"redis", f.Probes.Redis != ""}, {"mysql", f.Probes.MySQL != ""}, {"metrics", f.Probes.Metrics != ""}} {
		if flag.given {
			return flag.name
		}
	}
	return ""
}

// target is the system that the flags name.
func (f *remoteFlags) target() (t world.Target, err error) {
	u, err := url.Parse(f.URL)
	switch {
	case f.URL == "":
		return t, errors.New("-world remote needs the signaling server's -url, such as wss://staging.example.com/ws")
	case err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "":
		return t, errors.New("-url is not a ws:// or wss:// URL")
	case u.User != nil:
		return t, errors.New("-url has a name or password in it; tokens come from -tokens")
	case u.Scheme == "ws" && (f.CA != "" || f.Insecure):
		return t, errors.New("-ca and -insecure are about TLS; -url must be wss:// then")
	}
	t.URL = f.URL
	t.Probes = world.Probes{Redis: cmp.Or(f.Probes.Redis, os.Getenv("CALLBENCH_PROBE_REDIS")),
		MySQL: cmp.Or(f.Probes.MySQL, os.Getenv("CALLBENCH_PROBE_MYSQL")), Metrics: f.Probes.Metrics}
	if t.TLS, err = f.tls(); err != nil {
		return t, err
	}
	if f.Users != "" {
		if t.Accounts, err = accounts(f.Users); err != nil {
			return t, err
		}
	}
	return t, f.tokens(&t)
}

// tls is how servers prove who they are; nil is as this machine has it.
func (f *remoteFlags) tls() (*tls.Config, error) {
	if f.CA == "" && !f.Insecure {
		return nil, nil
	}
	cfg := &tls.Config{InsecureSkipVerify: f.Insecure} //nolint:gosec // as the user wants it, and the report says so
	if f.CA == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("-ca: %w", err)
	}
	if cfg.RootCAs, err = x509.SystemCertPool(); err != nil {
		cfg.RootCAs = x509.NewCertPool()
	}
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-ca: %s has no certificate in PEM", f.CA)
	}
	return cfg, nil
}

// tokens sets where tokens come from.
func (f *remoteFlags) tokens(t *world.Target) error {
	if f.Tokens == "" {
		return nil
	}
	client := http.DefaultClient
	if t.TLS != nil {
		client = &http.Client{Transport: &http.Transport{TLSClientConfig: t.TLS, Proxy: http.ProxyFromEnvironment}}
	}
	source, err := tokens.Open(f.Tokens, tokens.Config{Getenv: os.Getenv, Client: client})
	if err != nil {
		return fmt.Errorf("-tokens: %w", err)
	}
	t.Token = func(ctx context.Context, c scenarios.Client) (string, error) {
		return source.Token(ctx, c.User, c.Device)
	}
	if forger, ok := source.(tokens.Forger); ok {
		t.Forge = func(c scenarios.Client, kind string) (string, error) { return forger.Forge(c.User, kind) }
	}
	return nil
}

// greet asks the server for its level and features, as the first account or else as
// the first user that is going to be played.
func greet(ctx context.Context, t *world.Target, list []*scenarios.Scenario) error {
	who := scenarios.Client{Name: "callbench", Device: "callbench"}
	switch {
	case len(t.Accounts) > 0:
		who.User = t.Accounts[0].User
	case len(list) > 0:
		who.User = list[0].Clients[0].User
	}
	level, features, err := world.Greet(ctx, *t, who)
	if err != nil {
		return err
	}
	t.Level, t.Features = &level, features
	return nil
}

// accounts reads lines of user[,device]. A user with several devices has several
// lines.
func accounts(path string) (list []world.Account, err error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("-users: %w", err)
	}
	defer in.Close()
	rows := csv.NewReader(in)
	rows.Comment, rows.FieldsPerRecord, rows.TrimLeadingSpace = '#', -1, true
	for n := 0; ; n++ {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("-users: %s: %w", path, err)
		}
		line, _ := rows.FieldPos(0)
		if n == 0 && row[0] == "user" {
			continue // it names the columns
		}
		if len(row) > 2 || row[0] == "" {
			return nil, fmt.Errorf("-users: %s:%d: a line is user or user,device", path, line)
		}
		i := slices.IndexFunc(list, func(a world.Account) bool { return a.User == row[0] })
		if i < 0 {
			i = len(list)
			list = append(list, world.Account{User: row[0]})
		}
		if len(row) == 2 && row[1] != "" {
			list[i].Devices = append(list[i].Devices, row[1])
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("-users: %s names no user", path)
	}
	return list, nil
}
