package server

import (
	"errors"
	"math"
	"time"

	"golang.org/x/time/rate"

	"github.com/callbench/callbench/signaling"
)

// Unlimited is a limit that nothing reaches.
const Unlimited = math.MaxInt32

// Limits are what one client, user or address may take of the server. A zero
// value stands for the default that the comment names; Unlimited is no limit.
// Who reaches one is told so with limit_exceeded, and which one it was.
type Limits struct {
	ConnectionsPerAddress int // open at a time from one address, an IPv6 /64 being one and a /48 sixteen; 1000, for offices and carriers share theirs
	ConnectionsPerUser    int // open when a new session begins; 16
	SessionsPerUser       int // detached ones included, of which the oldest goes for a new one; 32
	FramesPerSecond       int // of one connection, on average; 100
	FrameBurst            int // of them at once; 500
	MessagesPerMinute     int // of one user, and at once; 600
	CallsPerMinute        int // that one user asks for, and at once; 30
	RecordingsPerMinute   int // that one user starts, and at once; 10
	Rooms                 int // at a time; 10,000
	RoomsPerUser          int // conferences that one user has made, at a time; 10
	MixedMembers          int // of an mcu room; 16
	BroadcastMembers      int // of a broadcast room; 1000

	BadTokenDelay    time.Duration // for the second bad token from an address; doubles with each, and one is forgiven a minute; 100 ms
	MaxBadTokenDelay time.Duration // that it grows to; 25 s
}

// WithDefaults returns the limits with their zero values replaced, or says that
// one is negative.
func (l Limits) WithDefaults() (Limits, error) {
	counts := []struct {
		at *int
		or int
	}{
		{&l.ConnectionsPerAddress, 1000}, {&l.ConnectionsPerUser, 16}, {&l.SessionsPerUser, 32}, {&l.FramesPerSecond, 100},
		{&l.FrameBurst, 500}, {&l.MessagesPerMinute, 600}, {&l.CallsPerMinute, 30}, {&l.Rooms, 10_000},
		{&l.RecordingsPerMinute, 10}, {&l.RoomsPerUser, 10},
		{&l.MixedMembers, 16}, {&l.BroadcastMembers, 1000},
	}
	for _, c := range counts {
		if *c.at < 0 {
			return l, errors.New("server: a limit is negative")
		}
		if *c.at == 0 {
			*c.at = c.or
		}
	}
	if l.BadTokenDelay < 0 || l.MaxBadTokenDelay < 0 {
		return l, errors.New("server: a delay is negative")
	}
	if l.BadTokenDelay == 0 {
		l.BadTokenDelay = 100 * time.Millisecond
	}
	if l.MaxBadTokenDelay == 0 {
		l.MaxBadTokenDelay = 25 * time.Second
	}
	return l, nil
}

// members is how many may be in a room of this type.
func (l *Limits) members(kind RoomType) int {
	if kind == RoomMCU {
		return l.MixedMembers
	}
	return l.BroadcastMembers
}

// The names of limits, as metrics have them.
const (
	limitConnectionsPerAddress = "connections_per_address"
	limitConnectionsPerUser    = "connections_per_user"
	limitSessionsPerUser       = "sessions_per_user"
	limitFramesPerSecond       = "frames_per_second"
	limitMessagesPerMinute     = "messages_per_minute"
	limitCallsPerMinute        = "calls_per_minute"
	limitRecordingsPerMinute   = "recordings_per_minute"
	limitRooms                 = "rooms"
	limitRoomsPerUser          = "rooms_per_user"
	limitBadTokens             = "bad_tokens"
)

// exceeded counts that a limit was reached, and is what the client is told.
func (s *Server) exceeded(limit, format string, args ...any) *signaling.Error {
	s.metrics.limits.WithLabelValues(limit).Inc()
	return signaling.Errorf(signaling.CodeLimitExceeded, format, args...)
}

// admitMessage counts a message of a user, or refuses it.
func (s *Server) admitMessage(user string) error {
	if n := s.cfg.Limits.MessagesPerMinute; !s.messages.allow(user, n) {
		return s.exceeded(limitMessagesPerMinute, "more than %d messages of one user in a minute", n)
	}
	return nil
}

// admitCall counts a call that a user asks for, or refuses it.
func (s *Server) admitCall(user string) error {
	if n := s.cfg.Limits.CallsPerMinute; !s.calls.allow(user, n) {
		return s.exceeded(limitCallsPerMinute, "more than %d calls of one user in a minute", n)
	}
	return nil
}

// admitRecording counts a recording that a user starts, or refuses it.
func (s *Server) admitRecording(user string) error {
	if n := s.cfg.Limits.RecordingsPerMinute; !s.recordings.allow(user, n) {
		return s.exceeded(limitRecordingsPerMinute, "more than %d recordings of one user in a minute", n)
	}
	return nil
}

// pace is how fast a connection may send. Its owner is the reader.
type pace struct {
	frames  *rate.Limiter
	refused int // frames, less those that were taken since
}

func newPace(l Limits) pace {
	return pace{frames: rate.NewLimiter(rate.Limit(l.FramesPerSecond), l.FrameBurst)}
}

// take counts a frame. ok says whether it may be done, and flood whether so many
// more were refused than taken that the connection must end.
func (p *pace) take(now time.Time) (ok, flood bool) {
	if p.frames.AllowN(now, 1) {
		p.refused = max(0, p.refused-1)
		return true, false
	}
	p.refused++
	return false, p.refused > p.frames.Burst()
}
