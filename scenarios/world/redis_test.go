package world

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/reports/trace"
)

// What is written to Redis shows, however the bytes come; what fields hold and
// what is only read does not.
func TestTapTellsCommands(t *testing.T) {
	var wire strings.Builder
	for _, words := range [][]string{
		{"HELLO", "3"},
		{"HSET", "rtc:session:s1", "userId", "alice", "sdpOffer", "v=0\r\n*2\r\n$3\r\n"},
		{"expire", "rtc:session:s1", "3600"},
		{"HGETALL", "rtc:session:s1"},
		{"PUBLISH", "user:alice:status", "{}"},
		{"EVAL", "return 1", "2", "rtc:room:r:members", "user:alice:presence", "leave", "r"},
	} {
		fmt.Fprintf(&wire, "*%d\r\n", len(words))
		for _, w := range words {
			fmt.Fprintf(&wire, "$%d\r\n%s\r\n", len(w), w)
		}
	}
	want := []string{
		"HSET rtc:session:s1 class=rtc:session:* fields=userId,sdpOffer",
		"EXPIRE rtc:session:s1 class=rtc:session:* fields=",
		"PUBLISH user:alice:status class= fields=",
		"EVAL rtc:room:r:members class=rtc:room:*:members fields=leave",
	}
	for _, step := range []int{1, 7, wire.Len()} {
		near, far := net.Pipe()
		go drain(far)
		var got []string
		log := trace.New(nil)
		log.Watch(func(e trace.Event) {
			got = append(got, fmt.Sprintf("%s %s class=%s fields=%s", e.Get("command"), e.Get("key"), e.Get("class"), e.Get("fields")+e.Get("script")))
		})
		c := &tap{Conn: near, log: log}
		for rest := wire.String(); rest != ""; {
			n := min(step, len(rest))
			if _, err := c.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		near.Close()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d bytes at a time: %s", step, diff)
		}
	}
}

// drain reads until the end.
func drain(c net.Conn) {
	b := make([]byte, 4096)
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}
