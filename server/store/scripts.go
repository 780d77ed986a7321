package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/callbench/callbench/server"
)

// The changes of rooms that several instances may make at the same moment are
// scripts, which Redis runs one after the other. Each is called with the keys of
// one room and one member, in this order, and then those of other users:
//
//	1 state  2 members  3 snapshot  4 the node's rooms  5 leg  6… users
//
// and with a word for what it does, for who reads the wire, the room's id, the node, how long
// users are held in milliseconds, the session, the user, its role, the limit, the
// snapshot, how many seconds a leg lives, and how many of the fields and values
// that follow are the state's; the rest are the leg's. It returns ok or why it has changed nothing; after busy
// comes which of the users is. They are
// sent each time: asking for them by their hashes would cost a second round trip
// whenever Redis was restarted.
const scriptHead = `
local state, members, snapshot, node, leg, me = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local room, owner, hold, session, user, role, limit = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
local fields = 12 + tonumber(ARGV[11])
local function busy(key)
  local held = redis.call('HMGET', key, 'roomId', 'node')
  return held[1] and held[1] ~= room and held[2] ~= owner
end
local function hold_user(key, ...)
  redis.call('DEL', key)
  redis.call('HSET', key, 'roomId', room, 'node', owner, ...)
  if tonumber(hold) > 0 then redis.call('PEXPIRE', key, hold) end
end
local function write_room()
  redis.call('HSET', state, unpack(ARGV, 12, fields - 1))
end
local function write_snapshot()
  redis.call('HSET', snapshot, 'snapshot', ARGV[9])
  redis.call('HSET', node, room, owner)
end
local function write_leg()
  redis.call('HSET', leg, unpack(ARGV, fields))
  redis.call('EXPIRE', leg, ARGV[10])
end
local function enter()
  redis.call('HSET', members, user, role)
  redis.call('DEL', leg)
  write_leg()
  hold_user(me, 'sessionId', session)
  write_snapshot()
end
local function publisher()
  local all = redis.call('HGETALL', members)
  for i = 1, #all, 2 do
    if all[i + 1] == 'publisher' and all[i] ~= user then return all[i] end
  end
end
local function drop_leg()
  if redis.call('HGET', leg, 'roomId') == room then redis.call('DEL', leg) end
end
local function let_go(key)
  if redis.call('HGET', key, 'roomId') == room then redis.call('DEL', key) end
end
`

const openRoom = `
for i = 6, #KEYS do
  if busy(KEYS[i]) then return 'busy ' .. (i - 5) end
end
write_room()
for i = 7, #KEYS do hold_user(KEYS[i]) end
enter()
return 'ok'`

const joinRoom = `
if redis.call('EXISTS', state) == 0 then return 'gone' end
if busy(me) then return 'busy 1' end
local held = redis.call('HMGET', me, 'roomId', 'sessionId')
if held[1] == room and held[2] and held[2] ~= session then return 'elsewhere' end
if limit > 0 and redis.call('HEXISTS', members, user) == 0 and redis.call('HLEN', members) >= limit then return 'full' end
if role == 'publisher' and redis.call('HGET', state, 'roomType') == 'broadcast' and publisher() then return 'publisher' end
enter()
return 'ok'`

const putRole = `
if redis.call('HEXISTS', members, user) == 0 then return 'gone' end
if role == 'publisher' and redis.call('HGET', state, 'roomType') == 'broadcast' then
  local old = publisher()
  if old then redis.call('HSET', members, old, 'subscriber') end
end
redis.call('HSET', members, user, role)
write_snapshot()
return 'ok'`

const leaveRoom = `
drop_leg()
local held = redis.call('HMGET', me, 'roomId', 'sessionId')
if held[1] == room and (not held[2] or held[2] == session) then redis.call('DEL', me) end
redis.call('HDEL', members, user)
if redis.call('EXISTS', members) == 0 then redis.call('DEL', state) end
return 'ok'`

const saveRoom = `
write_snapshot()
for i = 6, #KEYS do let_go(KEYS[i]) end
return 'ok'`

// keepRoom mends. What a later change has written stays: only what is gone comes
// back, except for the snapshot, which is newer than any other.
const keepRoom = `
if redis.call('EXISTS', state) == 0 then write_room() end
if redis.call('HEXISTS', members, user) == 0 then redis.call('HSET', members, user, role) end
if redis.call('EXISTS', leg) == 0 then write_leg() end
if redis.call('EXISTS', me) == 0 then hold_user(me, 'sessionId', session) end
for i = 7, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then hold_user(KEYS[i]) end
end
write_snapshot()
return 'ok'`

// mendRoom has the members' users as keys, and in the place of a leg's fields user,
// role and session of each.
const mendRoom = `
redis.call('DEL', members)
write_room()
for i = 6, #KEYS do
  local at = fields + 3 * (i - 6)
  redis.call('HSET', members, ARGV[at], ARGV[at + 1])
  if not busy(KEYS[i]) then hold_user(KEYS[i], 'sessionId', ARGV[at + 2]) end
end
write_snapshot()
return 'ok'`

// nodeRooms reads all rooms of a node in one step: for each its id, its snapshot,
// its members, its state and when it was heard of.
const nodeRooms = `
local rooms = {}
for _, room in ipairs(redis.call('HKEYS', KEYS[1])) do
  local key = 'rtc:room:' .. room
  local snapshot = redis.call('HMGET', key .. ':snapshot', 'snapshot', 'heardTime')
  rooms[#rooms + 1] = {room, snapshot[1] or '', redis.call('HGETALL', key .. ':members'), redis.call('HGETALL', key .. ':state'), snapshot[2] or ''}
end
return rooms`

// refusals are what scripts return beside ok.
var refusals = map[string]error{
	"elsewhere": server.ErrJoinedElsewhere, "full": server.ErrRoomFull,
	"publisher": server.ErrPublisherThere, "gone": server.ErrRoomGone,
}

// change runs one of the scripts above.
func (r *Redis) change(ctx context.Context, what, script string, c change) error {
	args, err := c.args(what)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	var done *redis.Cmd
	err = r.run(ctx, what, func(p redis.Pipeliner) { done = p.Eval(ctx, scriptHead+script, c.keys(), args...) })
	if err != nil {
		return err
	}
	if answer, _ := done.Text(); answer != "ok" {
		return fmt.Errorf("%s in redis: %w", what, c.refusal(answer))
	}
	return nil
}

// change is what a script is about.
type change struct {
	room   server.RoomSnapshot
	member server.MemberRecord
	leg    server.LegRecord
	others []string // users beside the member
	list   []string // instead of a leg: user, role and session of each member
}

func (c change) keys() []string {
	id := c.room.RoomID
	keys := []string{roomKey(id), membersKey(id), snapshotKey(id), nodeKey(c.room.Node), legKey(c.member.SessionID)}
	if c.member.UserID != "" {
		keys = append(keys, userKey(c.member.UserID))
	}
	for _, u := range c.others {
		keys = append(keys, userKey(u))
	}
	return keys
}

// refusal is the error that a script's answer stands for.
func (c change) refusal(answer string) error {
	n, busy := strings.CutPrefix(answer, "busy ")
	if !busy {
		return refusals[answer]
	}
	if n == "1" {
		return &server.UserBusyError{UserID: c.member.UserID}
	}
	i, err := strconv.Atoi(n)
	if err != nil || i > len(c.others)+1 {
		return fmt.Errorf("a script answers %q", answer)
	}
	return &server.UserBusyError{UserID: c.others[i-2]}
}

func (c change) args(what string) ([]any, error) {
	var text []byte
	if c.room.Type != "" { // a leave needs no more of the room than its id
		var err error
		if text, err = json.Marshal(c.room); err != nil {
			return nil, err
		}
	}
	state, leg := roomFields(c.room), legFields(c.leg)
	if c.list != nil {
		leg = nil
	}
	verb, _, _ := strings.Cut(what, " ")
	args := []any{verb, c.room.RoomID, c.room.Node, c.room.Hold.Milliseconds(), c.member.SessionID, c.member.UserID,
		string(c.member.Role), c.room.Limit, string(text), int(server.LegTTL.Seconds()), strconv.Itoa(len(state))}
	for _, f := range append(append(state, leg...), c.list...) {
		args = append(args, f)
	}
	return args, nil
}
