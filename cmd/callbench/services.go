package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	neturl "net/url"
	"slices"
	"strings"
	"time"

	pion "github.com/pion/turn/v5"

	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/server/turn"
)

// services examines what flags name, and says what stands for it where none does.
func (c *doctorCmd) services(ctx context.Context) []finding {
	redis := finding{Name: "redis", State: stateOK, Found: "none given: state is in memory", Why: "Sessions, rooms and presence are kept there."}
	if c.Redis != "" {
		at, err := checkRedis(ctx, c.Redis)
		redis = asked(redis, at, err, "start it, or give the right -redis")
	}
	kms := finding{Name: "kurento", State: stateOK, Found: "none given: the mock stands for it", Why: "It carries the media of every call."}
	if c.Kms != "" {
		kms = examineKurento(ctx, c.Kms, kms)
	}
	relay := finding{Name: "turn", State: stateOK, Found: "none given: one is embedded", Why: "Clients that cannot reach the media server themselves are relayed by it."}
	if c.Turn != "" {
		what, err := checkTURN(ctx, c.Turn, c.TurnSecret)
		relay = asked(relay, what, err, "start it, or give the right -turn and CALLBENCH_TURN_SECRET")
	}
	return []finding{kms, redis, examineMySQL(ctx, c.Mysql), relay}
}

// examineMySQL asks the database what it is.
func examineMySQL(ctx context.Context, dsn string) finding {
	f := finding{Name: "mysql", State: stateOK, Found: "none given: history and messages are in memory", Why: "History, messages, users and contacts are kept there."}
	if dsn == "" {
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	version, tables, err := store.CheckMySQL(ctx, dsn)
	found := fmt.Sprintf("%s, with %d of the %d tables", version, tables, store.MySQLTables)
	if err == nil && tables == 0 {
		found = version + ", without tables: callbench serve makes them"
	}
	return asked(f, found, err, "start it, make the database, or give the right -mysql")
}

// asked is what became of something that a flag asked for.
func asked(f finding, found string, err error, do string) finding {
	f.Asked, f.Found = true, found
	if err != nil {
		f.State, f.Found, f.Do = stateMissing, err.Error(), do
	}
	return f
}

func checkRedis(ctx context.Context, addr string) (at string, err error) {
	cfg, err := store.ParseRedis(addr)
	if err != nil {
		return "", fmt.Errorf("-redis: %w", err)
	}
	r := store.NewRedis(cfg)
	defer func() { err = errors.Join(err, r.Close()) }()
	return "at " + cfg.String(), r.Ping(ctx)
}

// plainConn hides that a connection is TCP, so that it is used as clients do that leave
// acknowledgements to the kernel: only they see what Nagle's algorithm holds back.
type plainConn struct{ net.Conn }

func examineKurento(ctx context.Context, url string, f finding) finding {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client, err := kurento.Dial(ctx, kurento.Config{URL: url, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return plainConn{conn}, err
	}})
	if err != nil {
		return asked(f, "", err, "start it, or give the right -kms; the path is /kurento")
	}
	defer func() { _ = client.Close() }()
	facts, hub, err := kurentoFacts(ctx, client)
	if err == nil && isMock(ctx, url) {
		f = asked(f, "a mock, not a real Kurento; "+strings.Join(facts, "; "), nil, "")
		f.State, f.mock, f.Do = stateWarn, true, "give the address of a real one: a mock proves no more than running without -kms"
		return f
	}
	f = asked(f, strings.Join(facts, "; "), err, "look into its log")
	if err == nil && !hub {
		f.State, f.Do = stateWarn, "use an image that has the module elements: rooms of many need Composite"
	}
	return f
}

// isMock tells whether the server at url has the control endpoint of kmsmock.
func isMock(ctx context.Context, url string) bool {
	address, err := neturl.Parse(url)
	if err != nil {
		return false
	}
	plain := neturl.URL{Scheme: "http", Host: address.Host, Path: "/_control"}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, plain.String(), http.NoBody)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct{ ServerID, Code string }
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<24)).Decode(&answer)
	return err == nil && (answer.ServerID != "" || answer.Code == "forbidden")
}

// kurentoFacts asks for version and modules and makes some pipelines.
func kurentoFacts(ctx context.Context, c *kurento.Client) (facts []string, composite bool, err error) {
	info, err := c.ServerManager().Info(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("ask for its version: %w", err)
	}
	var modules []string
	for _, m := range info.Modules {
		modules = append(modules, m.Name+" "+m.Version)
		composite = composite || slices.Contains(m.Factories, "Composite")
	}
	facts = append(facts, info.Type+" "+info.Version, strings.Join(modules, ", "))
	if composite {
		facts = append(facts, "has Composite")
	} else {
		facts = append(facts, "has no Composite")
	}
	ping, err := fastest(ctx, c)
	if err != nil {
		return nil, false, err
	}
	facts = append(facts, fmt.Sprintf("ping %v", ping.Round(10*time.Microsecond)))
	held, err := heldBack(ctx, c)
	if err != nil {
		return nil, false, err
	}
	if held > 0 {
		facts = append(facts, fmt.Sprintf("of two frames sent at once the second is held back for %v (Nagle): Callbench's client avoids it, others should set TCP_QUICKACK", held.Round(time.Millisecond)))
	}
	return facts, composite, nil
}

func fastest(ctx context.Context, c *kurento.Client) (time.Duration, error) {
	best := time.Hour
	for range 5 {
		begin := time.Now()
		if err := c.Ping(ctx); err != nil {
			return 0, fmt.Errorf("ping it: %w", err)
		}
		best = min(best, time.Since(begin))
	}
	return best, nil
}

// heldBack returns how long a response waits behind an event, or 0 if it does not: each pipeline that
// is made sends both at once.
func heldBack(ctx context.Context, c *kurento.Client) (time.Duration, error) {
	const (
		tries    = 8
		delayed  = 30 * time.Millisecond // delayed acknowledgements take 40
		overload = time.Second
	)
	if _, err := c.ServerManager().Subscribe(ctx, func(kurento.Event) {}, kurento.EventObjectCreated); err != nil {
		return 0, fmt.Errorf("subscribe to its objects: %w", err)
	}
	held := time.Duration(0)
	for range tries {
		begin := time.Now()
		pipeline, err := c.CreateMediaPipeline(ctx)
		if err != nil {
			return 0, fmt.Errorf("make a pipeline: %w", err)
		}
		if took := time.Since(begin); took >= delayed && took < overload {
			held = took
		}
		if err := pipeline.Release(ctx); err != nil {
			return 0, fmt.Errorf("release a pipeline: %w", err)
		}
	}
	return held, nil
}

// checkTURN asks the server for an allocation, or for a binding if there is no secret.
func checkTURN(ctx context.Context, url, secret string) (what string, err error) {
	addr, ok := strings.CutPrefix(url, "turn:")
	addr, _, _ = strings.Cut(addr, "?")
	if !ok {
		return "", fmt.Errorf("-turn %s is not a URL such as turn:127.0.0.1:3478?transport=udp", url)
	}
	conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp4", ":0")
	if err != nil {
		return "", fmt.Errorf("open a socket: %w", err)
	}
	defer func() { _ = conn.Close() }()
	cfg := &pion.ClientConfig{STUNServerAddr: addr, TURNServerAddr: addr, Conn: conn}
	if secret != "" {
		secrets, err := turn.NewSecrets(secret)
		if err != nil {
			return "", err
		}
		cfg.Username, cfg.Password = secrets.Sign("doctor", time.Now().Add(time.Minute))
	}
	client, err := pion.NewClient(cfg)
	if err != nil {
		return "", fmt.Errorf("TURN server %s: %w", addr, err)
	}
	defer client.Close()
	if err := client.Listen(); err != nil {
		return "", fmt.Errorf("TURN server %s: %w", addr, err)
	}
	if secret == "" {
		if _, err := client.SendBindingRequest(); err != nil {
			return "", fmt.Errorf("TURN server %s does not answer", addr)
		}
		return addr + " answers; without CALLBENCH_TURN_SECRET nothing was allocated", nil
	}
	relay, err := client.Allocate()
	if err != nil {
		return "", fmt.Errorf("TURN server %s gives no allocation: %w", addr, err)
	}
	defer func() { _ = relay.Close() }()
	return addr + " relays at " + relay.LocalAddr().String(), nil
}
