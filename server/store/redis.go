package store

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// RedisConfig says where Redis is.
type RedisConfig struct {
	Addr     string // host:port; 127.0.0.1:6379 by default
	Username string
	Password string
	DB       int
	TLS      *tls.Config // nil: none
	// Dial makes the connections, with TLS if they shall have it; nil dials TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// PoolSize is the largest number of connections; 10 by default.
	PoolSize int
	// Timeout is for one read or write of a connection; 2 s by default.
	Timeout time.Duration

	url bool // it was given as a URL
}

// Redis is a server.State in Redis. Every method is one round trip.
type Redis struct {
	client *redis.Client
}

// NewRedis makes a State in Redis. It connects when it is used first.
func NewRedis(cfg RedisConfig) *Redis {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:6379"
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	return &Redis{client: redis.NewClient(&redis.Options{
		Addr: cfg.Addr, Username: cfg.Username, Password: cfg.Password, DB: cfg.DB, TLSConfig: cfg.TLS,
		Dialer: cfg.Dial, PoolSize: max(cfg.PoolSize, 0),
		ReadTimeout: cfg.Timeout, WriteTimeout: cfg.Timeout, DialTimeout: cfg.Timeout,
		ContextTimeoutEnabled: true,
		// One retry mends a pooled connection that Redis closed. With more a
		// Redis that is gone holds every call up for seconds.
		MaxRetries: 1, DialerRetries: 1,
		// The client's name and library version, and notices of a managed
		// service: two round trips on every new connection.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})}
}

// Ping reports whether Redis is there.
func (r *Redis) Ping(ctx context.Context) error {
	if err := r.client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("store: Redis at %s: %w", r.client.Options().Addr, err)
	}
	return nil
}

// Close closes the connections.
func (r *Redis) Close() error {
	if err := r.client.Close(); err != nil {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}

// run sends what fill collects in one round trip. Single commands go this way
// too: the client would keep a second pool of connections for them.
func (r *Redis) run(ctx context.Context, what string, fill func(redis.Pipeliner)) error {
	p := r.client.Pipeline()
	fill(p)
	if _, err := p.Exec(ctx); err != nil {
		return fmt.Errorf("%s in redis: %w", what, err)
	}
	return nil
}

// PutSession implements server.SessionState.
func (r *Redis) PutSession(ctx context.Context, s server.SessionRecord) error {
	var added *redis.IntCmd
	fields := sessionFields(s)
	err := r.run(ctx, "put session", func(p redis.Pipeliner) {
		added = p.HSet(ctx, sessionKey(s.SessionID), fields)
		p.PExpire(ctx, sessionKey(s.SessionID), s.TTL)
		p.Expire(ctx, legKey(s.SessionID), server.LegTTL)
		p.PExpire(ctx, userKey(s.UserID), s.TTL)
	})
	if err == nil && s.Known && int(added.Val()) == len(fields)/2 {
		return fmt.Errorf("put session in redis: %w", server.ErrStateLost)
	}
	return err
}

// GetSession implements server.SessionState.
func (r *Redis) GetSession(ctx context.Context, sessionID string) (server.SessionRecord, bool, error) {
	var get *redis.MapStringStringCmd
	err := r.run(ctx, "get session", func(p redis.Pipeliner) { get = p.HGetAll(ctx, sessionKey(sessionID)) })
	if err != nil || len(get.Val()) == 0 {
		return server.SessionRecord{}, false, err
	}
	record, err := readSession(sessionID, get.Val())
	return record, err == nil, err
}

// DropSession implements server.SessionState.
func (r *Redis) DropSession(ctx context.Context, sessionID string) error {
	return r.run(ctx, "drop session", func(p redis.Pipeliner) { p.Del(ctx, sessionKey(sessionID)) })
}

// putPresence makes one step of counting, storing and publishing, so that
// changes from several instances cannot come between each other. Its arguments
// are the fields and values to be stored, then the channel and what is published
// there as JSON, up to where the version goes, and what the version must be above.
const putPresence = `
local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
if version <= tonumber(ARGV[7]) then
  version = tonumber(ARGV[7]) + 1
  redis.call('HSET', KEYS[1], 'version', string.format('%d', version))
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[6] .. ',"version":' .. string.format('%d', version) .. '}')
return version`

// PutPresence implements server.PresenceState. The script is sent each time:
// asking for it by its hash would cost a second round trip now and then.
func (r *Redis) PutPresence(ctx context.Context, p signaling.State) (uint64, error) {
	least := p.Version
	p.Version = 0
	text, err := json.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("put presence: %w", err)
	}
	args := anys(append(presenceFields(p), statusChannel(p.UserID), strings.TrimSuffix(string(text), "}"), strconv.FormatUint(least, 10)))
	var put *redis.Cmd
	err = r.run(ctx, "put presence", func(pipe redis.Pipeliner) {
		put = pipe.Eval(ctx, putPresence, []string{presenceKey(p.UserID)}, args...)
	})
	if err != nil {
		return 0, err
	}
	return put.Uint64()
}

// anys are the arguments of a script.
func anys(fields []string) (args []any) {
	for _, f := range fields {
		args = append(args, f)
	}
	return args
}

// GetPresence implements server.PresenceState.
func (r *Redis) GetPresence(ctx context.Context, user string) (signaling.State, error) {
	var get *redis.MapStringStringCmd
	err := r.run(ctx, "get presence", func(p redis.Pipeliner) { get = p.HGetAll(ctx, presenceKey(user)) })
	if err != nil {
		return signaling.State{}, err
	}
	return readPresence(user, get.Val())
}

// OpenRoom implements server.RoomState.
func (r *Redis) OpenRoom(ctx context.Context, room server.RoomSnapshot, first server.MemberRecord, l server.LegRecord) error {
	return r.change(ctx, "open room", openRoom, change{room: room, member: first, leg: l, others: room.Invited})
}

// JoinRoom implements server.RoomState.
func (r *Redis) JoinRoom(ctx context.Context, room server.RoomSnapshot, m server.MemberRecord, l server.LegRecord) error {
	return r.change(ctx, "join room", joinRoom, change{room: room, member: m, leg: l})
}

// PutRole implements server.RoomState.
func (r *Redis) PutRole(ctx context.Context, room server.RoomSnapshot, m server.MemberRecord) error {
	return r.change(ctx, "role of a member", putRole, change{room: room, member: m})
}

// LeaveRoom implements server.RoomState.
func (r *Redis) LeaveRoom(ctx context.Context, m server.MemberRecord) error {
	return r.change(ctx, "leave room", leaveRoom, change{room: server.RoomSnapshot{RoomRecord: server.RoomRecord{RoomID: m.RoomID}}, member: m})
}

// CloseRoom implements server.RoomState.
func (r *Redis) CloseRoom(ctx context.Context, room server.RoomSnapshot) error {
	return r.run(ctx, "close room", func(p redis.Pipeliner) {
		p.Del(ctx, roomKey(room.RoomID), membersKey(room.RoomID), snapshotKey(room.RoomID))
		p.HDel(ctx, nodeKey(room.Node), room.RoomID)
	})
}

// SaveRoom implements server.SnapshotState.
func (r *Redis) SaveRoom(ctx context.Context, room server.RoomSnapshot, free ...string) error {
	return r.change(ctx, "save room", saveRoom, change{room: room, others: free})
}

// KeepRoom implements server.SnapshotState.
func (r *Redis) KeepRoom(ctx context.Context, room server.RoomSnapshot, m server.MemberRecord, l server.LegRecord) error {
	return r.change(ctx, "keep room", keepRoom, change{room: room, member: m, leg: l, others: room.Invited})
}

// MendRoom implements server.SnapshotState.
func (r *Redis) MendRoom(ctx context.Context, room server.RoomSnapshot) error {
	c := change{room: room}
	for _, m := range room.Members {
		if !m.Left && !m.JoinedAt.IsZero() {
			c.others = append(c.others, m.UserID)
			c.list = append(c.list, m.UserID, string(m.Role), m.SessionID)
		}
	}
	return r.change(ctx, "mend room", mendRoom, c)
}

// Rooms implements server.SnapshotState. It is two round trips: the keys of legs and
// sessions are in the snapshots.
func (r *Redis) Rooms(ctx context.Context, node string) ([]server.RoomSnapshot, error) {
	var found *redis.Cmd
	err := r.run(ctx, "list rooms", func(p redis.Pipeliner) { found = p.Eval(ctx, nodeRooms, []string{nodeKey(node)}) })
	if err != nil {
		return nil, err
	}
	rows, err := found.Slice()
	if err != nil {
		return nil, fmt.Errorf("list rooms in redis: %w", err)
	}
	rooms := make([]server.RoomSnapshot, 0, len(rows))
	for _, row := range rows {
		s, err := roomOf(node, row)
		if err != nil {
			return nil, err
		}
		rooms = append(rooms, s)
	}
	slices.SortFunc(rooms, func(a, b server.RoomSnapshot) int { return strings.Compare(a.RoomID, b.RoomID) })
	return rooms, r.fillIn(ctx, rooms)
}

// roomOf reads a row of what nodeRooms returns.
func roomOf(node string, row any) (server.RoomSnapshot, error) {
	cells, _ := row.([]any)
	if len(cells) != 5 {
		return server.RoomSnapshot{}, fmt.Errorf("list rooms in redis: a row of %d cells", len(cells))
	}
	id, _ := cells[0].(string)
	text, _ := cells[1].(string)
	heard, _ := cells[4].(string)
	s, err := readRoom(node, id, text, heard, hashOf(cells[2]), hashOf(cells[3]))
	if err != nil { // nobody can go on with it: as a room that State has lost it is swept
		return server.RoomSnapshot{RoomRecord: server.RoomRecord{RoomID: id}, Node: node}, nil
	}
	return s, nil
}

// hashOf reads what HGETALL returns to a script.
func hashOf(cell any) map[string]string {
	pairs, _ := cell.([]any)
	fields := make(map[string]string)
	for i := 0; i+1 < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		fields[name], _ = pairs[i+1].(string)
	}
	return fields
}

// fillIn reads the legs and sessions of the rooms' members.
func (r *Redis) fillIn(ctx context.Context, rooms []server.RoomSnapshot) error {
	type asked struct {
		room         *server.RoomSnapshot
		id           string
		leg, session *redis.MapStringStringCmd
	}
	var all []asked
	err := r.run(ctx, "list members", func(p redis.Pipeliner) {
		for i := range rooms {
			for _, m := range rooms[i].Members {
				all = append(all, asked{&rooms[i], m.SessionID, p.HGetAll(ctx, legKey(m.SessionID)), p.HGetAll(ctx, sessionKey(m.SessionID))})
			}
		}
	})
	if err != nil {
		return err
	}
	for _, a := range all {
		if leg, ok := readLeg(a.id, a.leg.Val()); ok && leg.RoomID == a.room.RoomID {
			a.room.Legs = append(a.room.Legs, leg)
		}
		if len(a.session.Val()) == 0 {
			continue
		}
		session, err := readSession(a.id, a.session.Val())
		if err != nil {
			return err
		}
		a.room.Sessions = append(a.room.Sessions, session)
	}
	return nil
}

// putMedia changes a room that exists.
const putMedia = `if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('HSET', KEYS[1], unpack(ARGV)) end return 0`

// PutRoomMedia implements server.SnapshotState.
func (r *Redis) PutRoomMedia(ctx context.Context, m server.RoomMedia) error {
	return r.run(ctx, "put room media", func(p redis.Pipeliner) {
		p.Eval(ctx, putMedia, []string{roomKey(m.RoomID)}, anys(mediaFields(m))...)
	})
}

func saveLeg(ctx context.Context, p redis.Pipeliner, l server.LegRecord) {
	if l.Fresh {
		p.Del(ctx, legKey(l.SessionID))
	}
	p.HSet(ctx, legKey(l.SessionID), legFields(l))
	p.Expire(ctx, legKey(l.SessionID), server.LegTTL)
}

// SaveLeg implements server.LegState.
func (r *Redis) SaveLeg(ctx context.Context, l server.LegRecord) error {
	return r.run(ctx, "save leg", func(p redis.Pipeliner) { saveLeg(ctx, p, l) })
}

// LegConnected implements server.LegState.
func (r *Redis) LegConnected(ctx context.Context, l server.LegRecord) error {
	return r.run(ctx, "leg connected", func(p redis.Pipeliner) { saveLeg(ctx, p, l) })
}

// heard notes when a room that exists was heard of.
const heard = `if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('HSET', KEYS[1], 'heardTime', ARGV[1]) end return 0`

// CheckLeg implements server.LegState.
func (r *Redis) CheckLeg(ctx context.Context, node string, m server.MemberRecord, invited ...string) error {
	keys := []string{roomKey(m.RoomID), snapshotKey(m.RoomID), legKey(m.SessionID), userKey(m.UserID)}
	for _, u := range invited {
		keys = append(keys, userKey(u))
	}
	var there *redis.IntCmd
	var member, room *redis.BoolCmd
	err := r.run(ctx, "check leg", func(p redis.Pipeliner) {
		there = p.Exists(ctx, keys...)
		member = p.HExists(ctx, membersKey(m.RoomID), m.UserID)
		room = p.HExists(ctx, nodeKey(node), m.RoomID)
		p.Eval(ctx, heard, []string{snapshotKey(m.RoomID)}, millis(time.Now()))
	})
	if err == nil && (int(there.Val()) < len(keys) || !member.Val() || !room.Val()) {
		return fmt.Errorf("check leg in redis: %w", server.ErrStateLost)
	}
	return err
}
