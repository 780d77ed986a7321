package push_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/callbench/callbench/server/push"
)

// TestSign is the example of the Standard Webhooks specification's libraries.
func TestSign(t *testing.T) {
	s, err := push.NewSigner("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	at := time.Unix(1614265330, 0)
	body := []byte(`{"test": 2432232314}`)
	s.Sign(h, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body)
	if got := h.Get(push.HeaderSignature); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("the signature is %q", got)
	}
	if err := s.Verify(h, body, at.Add(push.Tolerance)); err != nil {
		t.Error(err)
	}
	h.Set(push.HeaderSignature, "v1,bm90IHRoaXM= "+h.Get(push.HeaderSignature))
	if err := s.Verify(h, body, at); err != nil {
		t.Error(err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	s, err := push.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	other, err := push.NewSigner("another secret of 24 bytes")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 0)
	for name, c := range map[string]struct {
		change func(h http.Header)
		want   error
	}{
		"another id":       {func(h http.Header) { h.Set(push.HeaderID, "c-2.invite") }, push.ErrSignature},
		"another instant":  {func(h http.Header) { h.Set(push.HeaderTimestamp, "1700000001") }, push.ErrSignature},
		"too old":          {func(h http.Header) { s.Sign(h, "c-1.invite", now.Add(-push.Tolerance-time.Second), []byte("{}")) }, push.ErrTimestamp},
		"of the future":    {func(h http.Header) { s.Sign(h, "c-1.invite", now.Add(push.Tolerance+time.Second), []byte("{}")) }, push.ErrTimestamp},
		"no instant":       {func(h http.Header) { h.Del(push.HeaderTimestamp) }, push.ErrTimestamp},
		"no signature":     {func(h http.Header) { h.Del(push.HeaderSignature) }, push.ErrSignature},
		"another's secret": {func(h http.Header) { other.Sign(h, "c-1.invite", now, []byte("{}")) }, push.ErrSignature},
	} {
		h := http.Header{}
		s.Sign(h, "c-1.invite", now, []byte("{}"))
		c.change(h)
		if err := s.Verify(h, []byte("{}"), now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h := http.Header{}
	s.Sign(h, "c-1.invite", now, []byte("{}"))
	if err := s.Verify(h, []byte("{ }"), now); !errors.Is(err, push.ErrSignature) {
		t.Errorf("another body: %v", err)
	}
}
