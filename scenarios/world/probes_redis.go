package world

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
)

// redisProbe looks at the design's keys in a Redis that others use as well.
type redisProbe struct {
	client *redis.Client
	ours   map[string]bool // users
	before map[string]bool // keys that were there in the beginning
}

func redisOptions(address string) (*redis.Options, error) {
	if strings.Contains(address, "://") {
		o, err := redis.ParseURL(address)
		if err != nil { // what it says may have the password in it
			return nil, fmt.Errorf("the address of Redis is no redis:// URL such as redis://HOST:PORT/0")
		}
		return o, nil
	}
	return &redis.Options{Addr: address}, nil
}

// redisAddress is where Redis is, without user and password.
func redisAddress(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Host
	}
	return address
}

func openRedisProbe(ctx context.Context, address string, ours map[string]bool) (*redisProbe, error) {
	o, err := redisOptions(address)
	if err != nil {
		return nil, err
	}
	o.DisableIdentity, o.MaxRetries = true, 1
	p := &redisProbe{client: redis.NewClient(o), ours: ours, before: map[string]bool{}}
	keys, err := p.keys(ctx)
	if err != nil {
		_ = p.client.Close()
		return nil, err
	}
	for _, k := range keys {
		p.before[k] = true
	}
	return p, nil
}

// scanAtOnce is how many keys Redis looks at in one step of a scan.
const scanAtOnce = 1000

// keys are those of the design, in their order.
func (p *redisProbe) keys(ctx context.Context) ([]string, error) {
	set := map[string]bool{}
	for _, pattern := range []string{"rtc:*", "ws:session:*"} {
		scan := p.client.Scan(ctx, 0, pattern, scanAtOnce).Iterator()
		for scan.Next(ctx) {
			set[scan.Val()] = true
		}
		if err := scan.Err(); err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(set)), nil
}

// held is what a key holds.
type held struct {
	name   string
	ttl    time.Duration // negative if it stays for ever, or is gone
	fields map[string]string
}

func (p *redisProbe) look(ctx context.Context) (found []scenarios.Finding, err error) {
	names, err := p.keys(ctx)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(k string) bool { return p.before[k] })
	for _, u := range slices.Sorted(maps.Keys(p.ours)) {
		names = append(names, "user:"+u+":presence")
	}
	all, err := p.read(ctx, names)
	if err != nil {
		return nil, err
	}
	foreign := p.foreign(all)
	for _, k := range all {
		if foreign[k.name] {
			continue
		}
		if scenarios.Left(k.name) {
			found = append(found, left("redis", k.name))
		}
		found = append(found, keyFinding(k))
	}
	return found, nil
}

// read gets what keys hold, in one round trip. Those that have gone meanwhile, or
// were never there, are left out.
func (p *redisProbe) read(ctx context.Context, names []string) (all []held, err error) {
	if len(names) == 0 {
		return nil, nil
	}
	pipe := p.client.Pipeline()
	ttls, fields := make([]*redis.DurationCmd, len(names)), make([]*redis.MapStringStringCmd, len(names))
	for i, n := range names {
		ttls[i], fields[i] = pipe.PTTL(ctx, n), pipe.HGetAll(ctx, n)
	}
	_, err = pipe.Exec(ctx)
	for i, n := range names {
		if e := ttls[i].Err(); e != nil {
			return nil, err
		}
		if ttl := ttls[i].Val(); ttl != -2 { // PTTL says -2 of a key that is not there
			all = append(all, held{n, ttl, fields[i].Val()}) // that it is no hash says Redis with an error
		}
	}
	return all, nil
}

// foreign are the keys of users that are not the scenario's.
func (p *redisProbe) foreign(all []held) map[string]bool {
	rooms := map[string][]string{} // to their users
	users := map[string][]string{} // of keys
	for _, k := range all {
		switch room, isMembers := cutAround(k.name, "rtc:room:", ":members"); {
		case isMembers:
			rooms[room] = append(rooms[room], slices.Collect(maps.Keys(k.fields))...)
		case k.fields["userId"] != "":
			users[k.name] = []string{k.fields["userId"]}
			if room := k.fields["roomId"]; room != "" {
				rooms[room] = append(rooms[room], k.fields["userId"])
			}
		case strings.HasPrefix(k.name, "rtc:user:"):
			user := strings.TrimPrefix(k.name, "rtc:user:")
			users[k.name], rooms[k.fields["roomId"]] = []string{user}, append(rooms[k.fields["roomId"]], user)
		}
	}
	out := map[string]bool{}
	for _, k := range all {
		who := users[k.name]
		if room, ok := strings.CutPrefix(k.name, "rtc:room:"); ok {
			who = rooms[room[:max(0, strings.LastIndex(room, ":"))]]
		}
		if strings.HasPrefix(k.name, "rtc:node:") { // its fields are rooms
			for r := range k.fields {
				who = append(who, rooms[r]...)
			}
		}
		out[k.name] = len(who) > 0 && !slices.ContainsFunc(who, func(u string) bool { return p.ours[u] })
	}
	return out
}

// cutAround takes what is between a beginning and an end.
func cutAround(s, begin, end string) (string, bool) {
	rest, a := strings.CutPrefix(s, begin)
	rest, b := strings.CutSuffix(rest, end)
	return rest, a && b
}

// keyFinding describes a key: how long it has left in seconds, 0 for ever, and if
// it is a hash what its fields hold.
func keyFinding(k held) scenarios.Finding {
	attrs := []trace.Attr{trace.String("key", k.name), trace.Float("ttl", max(k.ttl, 0).Round(time.Millisecond).Seconds())}
	for _, f := range slices.Sorted(maps.Keys(k.fields)) {
		v := k.fields[f]
		if strings.HasPrefix(f, "sdp") || strings.HasPrefix(f, "resumeToken") && v != "" || len(v) > longest { // long, secret, or different in every run
			v = "…"
		}
		attrs = append(attrs, trace.String("field."+f, v))
	}
	return scenarios.Finding{What: "key", Attrs: attrs}
}

func (p *redisProbe) close() error { return p.client.Close() }
