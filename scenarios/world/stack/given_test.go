package stack

import (
	"strings"
	"testing"
)

func TestGiven(t *testing.T) {
	for _, c := range []struct {
		given Given
		want  string // "" is nothing wrong
	}{
		{Given{}, ""},
		{Given{Kurento: "ws://kms.example:8888/kurento", Redis: "10.0.0.1:6379", MySQL: "u:p@tcp(db:3306)/calls", TURN: "turn:10.0.0.2:3478?transport=udp", Secret: "s"}, ""},
		{Given{Kurento: "10.0.0.1:8888"}, "-kms is a ws:// or wss:// URL"},
		{Given{Kurento: "ws://a:secret@10.0.0.1:8888/kurento"}, "without name and password"},
		{Given{Redis: "redis://:secret@10.0.0.1:6379/0"}, "-redis is HOST:PORT"},
		{Given{Kurento: "ws://127.0.0.1:8888/kurento"}, "-kms: 127.0.0.1 is the container itself"},
		{Given{Redis: "localhost:6379"}, "-redis: localhost is the container itself"},
		{Given{MySQL: "u:p@tcp(127.0.0.1:3306)/calls"}, "-mysql: 127.0.0.1 is the container itself"},
		{Given{MySQL: "u:hunter2@nonsense"}, "-mysql: "},
		{Given{TURN: "turn:127.0.0.1:3478", Secret: "s"}, "-turn: 127.0.0.1 is the container itself"},
		{Given{TURN: "turn:10.0.0.2:3478"}, "go together"},
	} {
		err := c.given.check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.given, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is told: %v", err)
		}
	}
}

func TestAddressOf(t *testing.T) {
	for host, want := range map[string]string{"localhost": "127.0.0.1", "10.0.0.1": "10.0.0.1", "": "", "no host": "no host"} {
		if got := addressOf(host); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}
