package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/callbench/callbench/server"
)

// timeoutFlags say how patient the server is.
type timeoutFlags struct {
	RingTimeout    time.Duration `env:"CALLBENCH_RING_TIMEOUT" default:"60s" help:"How long a call rings before it ends with no_answer."`
	ResumeWindow   time.Duration `env:"CALLBENCH_RESUME_WINDOW" default:"60s" help:"How long a client whose connection dropped, or whose server was killed, has to come back to its session and its call; whole seconds."`
	RecordTimeout  time.Duration `env:"CALLBENCH_RECORD_TIMEOUT" default:"10s" help:"How long a recording may take until everything that it is to record flows; then it fails."`
	MediaLostAfter time.Duration `env:"CALLBENCH_MEDIA_LOST_AFTER" default:"5s" help:"How long the media server may be away or silent before its media is given up and made anew."`
}

func (f *timeoutFlags) check() error {
	var errs []error
	for _, t := range []struct {
		name        string
		is          time.Duration
		least, most time.Duration
	}{
		{"ring-timeout", f.RingTimeout, time.Second, 10 * time.Minute},
		{"resume-window", f.ResumeWindow, time.Second, 30 * time.Minute},
		{"record-timeout", f.RecordTimeout, time.Second, 5 * time.Minute},
		{"media-lost-after", f.MediaLostAfter, 100 * time.Millisecond, time.Minute},
	} {
		if t.is < t.least || t.is > t.most {
			errs = append(errs, fmt.Errorf("-%s must be between %v and %v, not %v", t.name, t.least, t.most, t.is))
		}
	}
	if f.ResumeWindow%time.Second != 0 {
		errs = append(errs, fmt.Errorf("-resume-window must be whole seconds, for clients are told them, not %v", f.ResumeWindow))
	}
	return errors.Join(errs...)
}

// apply sets what the flags say of the server's patience; that with the media
// server is given to its client.
func (f *timeoutFlags) apply(cfg *server.Config) {
	cfg.RingTimeout, cfg.ResumeWindow, cfg.RecordTimeout = f.RingTimeout, f.ResumeWindow, f.RecordTimeout
}
