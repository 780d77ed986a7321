package world

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
)

// dialRedis connects the server to Redis; what it writes there shows in the
// trace.
func (y *system) dialRedis(context.Context, string, string) (net.Conn, error) {
	c, err := y.redis.Dial()
	if err != nil {
		return nil, err
	}
	return &tap{Conn: c, log: y.log}, nil
}

// writes are the commands that the trace has: those that change or tell
// something.
var writes = []string{"HSET", "HDEL", "DEL", "EXPIRE", "PEXPIRE", "PUBLISH"}

// tap is a connection to Redis that reads along: every command that changes
// something becomes an event with the command, its key, the key's class and the
// names of the fields that it sets; a script becomes one for each key. What they hold is left out.
type tap struct {
	net.Conn
	log  *trace.Log
	rest []byte
}

// Write implements net.Conn.
func (t *tap) Write(b []byte) (int, error) {
	t.rest = append(t.rest, b...)
	for {
		words, n := command(t.rest)
		if n == 0 {
			break
		}
		t.rest = t.rest[n:]
		t.tell(words)
	}
	return t.Conn.Write(b)
}

func (t *tap) tell(words []string) {
	if len(words) > 3 && strings.EqualFold(words[0], "EVAL") {
		t.script(words[2:])
		return
	}
	if len(words) < 2 || !slices.Contains(writes, strings.ToUpper(words[0])) {
		return
	}
	name := strings.ToUpper(words[0])
	attrs := []trace.Attr{trace.String("command", name), trace.String("key", words[1])}
	if class, ok := scenarios.ClassOf(words[1]); ok {
		attrs = append(attrs, trace.String("class", class.Pattern))
	}
	var fields []string
	for i := 2; name == "HSET" && i < len(words); i += 2 {
		fields = append(fields, words[i])
	}
	if fields != nil {
		attrs = append(attrs, trace.String("fields", strings.Join(fields, ",")))
	}
	t.log.Add("redis", "redis.command", attrs...)
}

// script tells of each key of a room's that a script is called with. What it does
// is its first argument, behind the keys and how many they are.
func (t *tap) script(words []string) {
	n, err := strconv.Atoi(words[0])
	if err != nil || len(words) < n+2 {
		return
	}
	for _, key := range words[1 : n+1] {
		if class, ok := scenarios.ClassOf(key); ok && strings.HasPrefix(key, "rtc:") {
			t.log.Add("redis", "redis.command", trace.String("command", "EVAL"), trace.String("key", key),
				trace.String("class", class.Pattern), trace.String("script", words[n+1]))
		}
	}
}

// command reads one command of the Redis protocol (an array of bulk strings),
// and returns how long it is: 0 if there is more to come.
func command(b []byte) (words []string, n int) {
	count, n := header(b, '*')
	if n == 0 {
		return nil, 0
	}
	for range count {
		size, m := header(b[n:], '$')
		if m == 0 || len(b) < n+m+size+2 {
			return nil, 0
		}
		words = append(words, string(b[n+m:n+m+size]))
		n += m + size + 2
	}
	return words, n
}

// header reads a line such as *3 or $12, and returns its number and length.
func header(b []byte, mark byte) (number, n int) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 1 || b[0] != mark {
		return 0, 0
	}
	number, err := strconv.Atoi(string(b[1:end]))
	if err != nil {
		return 0, 0
	}
	return number, end + 2
}
