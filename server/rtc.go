package server

import (
	"github.com/callbench/callbench/signaling"
)

// handleCall is step 2: it decides at once whether both can be in a call, and
// leaves the rest to the call.
func handleCall(r request) error {
	var in signaling.RTC
	if err := r.frame.Into(&in); err != nil {
		return err
	}
	if in.TargetUser == "" || in.TargetUser == r.user {
		return signaling.Errorf(signaling.CodeBadData, "targetUser is missing or oneself")
	}
	if err := r.reach(in.TargetUser); err != nil {
		return err
	}
	to := r.srv.users.reach(in.TargetUser)
	if to == nil {
		return unavailable()
	}
	c := newCall(r.session, to)
	if err := r.srv.users.engage(c); err != nil {
		return err
	}
	c.queue.Do(func() { c.start(r) })
	return nil
}

// inCall decodes the data of a frame about the session's call and finds the
// call. Frames of level 0 may leave out its ids.
func (r request) inCall(in *signaling.RTC) (*call, error) {
	if err := r.frame.Into(in); err != nil {
		return nil, err
	}
	c := r.session.call.Load()
	if c == nil || in.CallID != "" && in.CallID != c.id || in.RoomID != "" && in.RoomID != c.room.id {
		return nil, noSuchCall()
	}
	return c, nil
}

// hand gives the call something to do.
func (c *call) hand(f func()) error {
	if !c.queue.Do(f) {
		return noSuchCall()
	}
	return nil
}

func handleRinging(r request) error {
	var in signaling.RTC
	c, err := r.inCall(&in)
	if err != nil {
		return err
	}
	return c.hand(func() { c.ringing(r) })
}

// handleAnswer is step 10. The media server answers offers, never a client.
func handleAnswer(r request) error {
	var in signaling.RTC
	c, err := r.inCall(&in)
	if err != nil {
		return err
	}
	if in.SDP != "" {
		return signaling.Errorf(signaling.CodeBadData, "a client accepts without an SDP and then sends an offer")
	}
	return c.hand(func() { c.accept(r) })
}

// handleOffer reads the SDP here, on the connection's goroutine, so that the
// two legs of a call do not wait for each other.
func handleOffer(r request) error {
	var in signaling.RTC
	c, err := r.inCall(&in)
	if err != nil {
		return err
	}
	o, err := readOffer(in.SDP, r.srv.cfg.VideoCodec)
	if err != nil {
		return err
	}
	return c.hand(func() { c.offered(r, o) })
}

func handleCandidate(r request) error {
	var in signaling.RTC
	c, err := r.inCall(&in)
	if err != nil {
		return err
	}
	candidate, wanted, err := readCandidate(&in)
	if err != nil {
		return err
	}
	return c.hand(func() { c.candidate(r, candidate, wanted) })
}

func handleLeave(r request) error {
	var in signaling.RTC
	c, err := r.inCall(&in)
	if err != nil {
		return err
	}
	return c.hand(func() { c.leave(r) })
}
