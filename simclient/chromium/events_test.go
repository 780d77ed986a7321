package chromium

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Events of the page read like those of simulated clients: in their order, whole
// numbers without a fraction, and frames at the level of details.
func TestEventsOfThePage(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	c := &Client{log: log}
	c.proof = newProof(c)
	for kind, object := range map[string]string{"media.stats": `{"of":"inbound-rtp","packets":1e3,"energy":0.12345678,"ok":true}`} {
		attrs, err := readAttrs([]byte(object))
		if err != nil {
			t.Fatal(err)
		}
		c.event(kind, attrs)
	}
	attrs, err := readAttrs([]byte(`{"call":"c","reason":"hangup"}`))
	if err != nil || value(attrs, "reason") != "hangup" || value(attrs, "by") != "" {
		t.Fatal(attrs, err)
	}
	c.event("call.ended", attrs)
	want := "level=DEBUG msg=media.stats of=inbound-rtp packets=1000 energy=0.123457 ok=true\nlevel=INFO msg=call.ended call=c reason=hangup\n"
	if out.String() != want {
		t.Errorf("logged\n%s, want\n%s", out.String(), want)
	}
	for _, wrong := range []string{``, `x`, `{"a":`, `{"a"}`} {
		if attrs, err := readAttrs([]byte(wrong)); err == nil {
			t.Errorf("%q is read as %v", wrong, attrs)
		}
	}
}

// What came of a call is counted and told as other clients do, whoever sent it.
func TestProofOfACall(t *testing.T) {
	var out bytes.Buffer
	c := &Client{log: slog.New(slog.NewTextHandler(&out, nil))}
	c.proof = newProof(c)
	say := func(kind string, kv ...any) {
		r := slog.Record{}
		r.Add(kv...)
		var attrs []slog.Attr
		r.Attrs(func(a slog.Attr) bool { attrs = append(attrs, a); return true })
		c.event(kind, attrs)
	}
	say("call.outgoing", "call", "c", "to", "bob", "room", "r")
	say("call.connected", "call", "c", "leg", 1)
	c.proof.unit(append([]byte{0, 0, 0, 0, 0, 4}, 0xf0, 1, 2, 3), time.Now()) // sound without a marker
	c.proof.sending(map[string]count{"audio": {Units: 5, Bytes: 500}})
	say("call.ended", "call", "c", "reason", "hangup")
	got := out.String()
	for _, want := range []string{"msg=media.unmarked call=c media=audio", "msg=media.source call=c state=started media=audio",
		"msg=media.window call=c media=audio from=bob units=0", "msg=media.sent call=c media=audio codec=opus units=5 bytes=500", "msg=media.total call=c media=video from=bob"} {
		if !strings.Contains(got, want) {
			t.Errorf("nobody told %q:\n%s", want, got)
		}
	}
	if strings.Index(got, "media.total") > strings.Index(got, "call.ended") {
		t.Error("the totals come behind the end")
	}
	out.Reset()
	c.proof.unit([]byte{1, 1, 0, 0, 0, 0}, time.Now()) // late
	if out.Len() > 0 {
		t.Errorf("after the call: %s", out.String())
	}
}
