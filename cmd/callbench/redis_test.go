package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
)

// The password of a Redis is used, and told nobody: neither by serve, nor by its
// errors, nor by the doctor.
func TestRedisPasswordIsNotTold(t *testing.T) {
	m := miniredis.RunT(t)
	m.RequireUserAuth("calls", "geheim")
	good, bad := "redis://calls:geheim@"+m.Addr()+"/2", "redis://calls:geheimer@"+m.Addr()+"/2"
	t.Setenv("CALLBENCH_REDIS", good)
	addr, stop := served(t, "-users", "ann,ben", "-log-level", "DEBUG")
	if code, body := get(t, "http://"+addr+"/readyz"); code != 200 {
		t.Errorf("%d %s", code, body)
	}
	code, output := stop()
	if code != exitPass || !strings.Contains(output, "redis://"+m.Addr()+"/2") || strings.Contains(output, "geheim") {
		t.Errorf("exit code %d\n%s", code, output)
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"serve", "-listen", "127.0.0.1:0", "-redis", bad}, exitFail, "WRONGPASS"},
		{[]string{"serve", "-listen", "127.0.0.1:0", "-redis", "redis://calls:ge/heim@" + m.Addr()}, exitFail, "-redis: the address of Redis is"},
		{[]string{"doctor"}, exitPass, "redis://" + m.Addr() + "/2"},
		{[]string{"doctor", "-json", "-redis", bad}, exitFail, "WRONGPASS"},
		{[]string{"doctor", "-redis", "redis://calls:ge/heim@" + m.Addr()}, exitFail, "-redis: the address of Redis is"},
	} {
		var out bytes.Buffer
		code := Main(t.Context(), test.args, &out, &out)
		if text := out.String(); code == exitPass && test.code != exitPass || code != exitPass && test.code == exitPass || !strings.Contains(text, test.want) || strings.Contains(text, "heim") {
			t.Errorf("%v: exit code %d\n%s", test.args, code, text)
		}
	}
}
