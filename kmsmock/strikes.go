package kmsmock

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// A Command makes the server do something at once.
type Command struct {
	// Do is one of kill, restart, refuse, gc, cut, thread_limit, cross_media,
	// keep_released, drop_candidates, ice_failure, dtls_failure, dtls_stall,
	// media_stall, media_flap, media_silence, media_restore, transcoding and
	// recorder_failure.
	Do string `json:"do"`
	// Object is the id of the endpoint that it is about.
	Object string `json:"object,omitempty"`
	// Media is AUDIO or VIDEO; empty means both.
	Media string `json:"media,omitempty"`
	// After is when restart listens again; 0 means RestartTime.
	After Span `json:"after,omitzero"`
	// For is how long refuse, media_stall and media_silence last; media
	// without it stays so until media_restore.
	For Span `json:"for,omitzero"`
	// On and Off are the times of media_flap, which begins with Off.
	On  Span `json:"on,omitzero"`
	Off Span `json:"off,omitzero"`
	// Session is whose connection is cut; empty means all.
	Session string `json:"session,omitempty"`
	// Limit of thread_limit; 0 is none.
	Limit int `json:"limit,omitempty"`
	// Cross is own, calls or none.
	Cross string `json:"cross,omitempty"`
	// Keep is whether released objects are kept.
	Keep bool `json:"keep,omitempty"`
	// Candidates are the numbers of those that are not sent.
	Candidates []int `json:"candidates,omitempty"`
	// Failure of a recorder: no_space, open, write, or none.
	Failure string `json:"failure,omitempty"`
}

var crossings = []string{CrossNone: "none", CrossOwn: "own", CrossCalls: "calls"}

// Do carries a command out. One without sense, and one about an object that
// does not exist or cannot do that, is an error.
func (s *Server) Do(c Command) error {
	run, ok := serverCommands[c.Do]
	if !ok {
		return s.strikeObject(c)
	}
	if c.Object != "" {
		return fmt.Errorf("kmsmock: %s is about no object", c.Do)
	}
	if err := run(s, c); err != nil {
		return fmt.Errorf("kmsmock: %s: %w", c.Do, err)
	}
	return nil
}

var serverCommands = map[string]func(*Server, Command) error{
	"kill": func(s *Server, _ Command) error { s.Kill(); return nil },
	"restart": func(s *Server, c Command) error {
		s.Restart(time.Duration(cmp.Or(c.After, Span(RestartTime))))
		return nil
	},
	"gc":            func(s *Server, _ Command) error { s.CollectGarbage(); return nil },
	"refuse":        refuse,
	"cut":           func(s *Server, c Command) error { return s.cutSession(c.Session) },
	"thread_limit":  limitThreads,
	"keep_released": func(s *Server, c Command) error { return s.changeFaults(func(f *Faults) { f.KeepReleased = c.Keep }) },
	"drop_candidates": func(s *Server, c Command) error {
		return s.changeFaults(func(f *Faults) { f.DropCandidates = c.Candidates })
	},
	"cross_media": crossMedia,
}

func refuse(s *Server, c Command) error {
	if c.For <= 0 {
		return errors.New("for must say how long")
	}
	s.Refuse(time.Duration(c.For))
	return nil
}

func limitThreads(s *Server, c Command) error {
	if c.Limit < 0 {
		return fmt.Errorf("limit is %d; it must be 0, for none, or more", c.Limit)
	}
	return s.changeFaults(func(f *Faults) { f.ThreadLimit = c.Limit })
}

func crossMedia(s *Server, c Command) error {
	i := slices.Index(crossings, c.Cross)
	if i < 0 {
		return fmt.Errorf("cross is %q; it must be one of %q", c.Cross, crossings)
	}
	return s.changeFaults(func(f *Faults) { f.CrossMedia = Cross(i) })
}

func (s *Server) changeFaults(change func(*Faults)) error {
	f := s.Faults()
	change(&f)
	s.SetFaults(f)
	return nil
}

func (s *Server) cutSession(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Info("kms.fault", "type", "cut")
	if id == "" {
		s.cutAll()
		return nil
	}
	c := s.bound[id]
	if c == nil {
		return fmt.Errorf("no connection has session %q", id)
	}
	c.cut()
	return nil
}

// objectCommands are those about one object; the lock is held.
var objectCommands = map[string]func(o *mediaObject, c Command) error{
	"ice_failure": failICE, "dtls_failure": failDTLS, "dtls_stall": stallDTLS,
	"media_stall": stallMedia, "media_flap": flapMedia, "media_silence": silenceMedia, "media_restore": restoreMedia,
	"transcoding": reportTranscoding, "recorder_failure": failRecorder,
}

func (s *Server) strikeObject(c Command) error {
	run, ok := objectCommands[c.Do]
	if !ok {
		return fmt.Errorf("kmsmock: there is no command %q", c.Do)
	}
	if c.Media != "" && c.Media != "AUDIO" && c.Media != "VIDEO" {
		return fmt.Errorf("kmsmock: %s: media is %q; it must be AUDIO or VIDEO", c.Do, c.Media)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[c.Object]
	if o == nil {
		return fmt.Errorf("kmsmock: %s: object %q not found", c.Do, c.Object)
	}
	s.log.Info("kms.fault", "object", o.id, "type", c.Do)
	if err := run(o, c); err != nil {
		return fmt.Errorf("kmsmock: %s: %w", c.Do, err)
	}
	return nil
}

func rtcOf(o *mediaObject) (*rtcEndpoint, error) {
	ep, ok := o.impl.(*rtcEndpoint)
	if !ok || ep.rtp != nil {
		return nil, fmt.Errorf("a %s has no ICE and DTLS", o.class.name)
	}
	return ep, nil
}

// failICE loses the peer for good: FAILED is reported, media stops.
func failICE(o *mediaObject, _ Command) error {
	ep, err := rtcOf(o)
	if err != nil {
		return err
	}
	for _, t := range ep.streams {
		t.ice.stop()
		o.srv.spawn(t.stop)
		t.componentState(1, "FAILED", o.srv.pace.event)
	}
	return nil
}

// failDTLS breaks the handshake: at once where there was one, otherwise when
// its time comes.
func failDTLS(o *mediaObject, _ Command) error {
	ep, err := rtcOf(o)
	if err != nil {
		return err
	}
	if ep.media.dtlsState[partDec] == "" {
		ep.doom = doomFail
		return nil
	}
	ep.block(blockStall, allKinds[:2])
	for _, t := range ep.streams {
		t.muted.Store(true)
		t.dtlsFailed()
	}
	return nil
}

// A doom is what becomes of a handshake that has not begun.
type doom int

const (
	doomNone  doom = iota
	doomStall      // it never begins
	doomFail       // it breaks
)

func stallDTLS(o *mediaObject, _ Command) error {
	ep, err := rtcOf(o)
	if err != nil {
		return err
	}
	if ep.media.dtlsState[partDec] != "" {
		return errors.New("the handshake has begun already")
	}
	ep.doom = doomStall
	return nil
}

// doomed tells whether the handshake of a transport shall not happen.
func (t *mediaTransport) doomed() bool {
	ep, s := t.ep, t.ep.obj.srv
	if ep.doom == doomNone && s.stall() {
		ep.doom = doomStall
	}
	switch ep.doom {
	case doomStall:
		s.log.Info("kms.fault", "object", ep.obj.id, "type", "stall_dtls")
	case doomFail:
		s.log.Info("kms.fault", "object", ep.obj.id, "type", "fail_dtls")
		t.dtlsFailed()
	}
	return ep.doom != doomNone
}

// What a command does to the media of an element.
const (
	blockNone    uint32 = iota
	blockStall          // packets neither come in nor go out
	blockSilence        // packets count as flowing and do not arrive
)

func elementFor(o *mediaObject) (*element, error) {
	if e := elementOf(o); e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("a %s carries no media", o.class.name)
}

func mediaOf(c Command) []mediaKind {
	if c.Media == "" {
		return allKinds[:2]
	}
	return []mediaKind{kindNamed(c.Media)}
}

func (e *element) block(how uint32, kinds []mediaKind) {
	for _, k := range kinds {
		e.blocked[k].Store(how)
		e.blockings[k]++
	}
}

// blockFor blocks media until d has passed or another command speaks of it;
// 0 means for good.
func (e *element) blockFor(how uint32, kinds []mediaKind, d time.Duration, then func()) {
	e.block(how, kinds)
	if d <= 0 {
		return
	}
	for _, k := range kinds {
		n, s := e.blockings[k], e.obj.srv
		s.later(d, func() {
			if e.blockings[k] == n && !e.closed {
				then()
			}
		})
	}
}

func stallMedia(o *mediaObject, c Command) error { return blockMedia(o, c, blockStall) }

func silenceMedia(o *mediaObject, c Command) error { return blockMedia(o, c, blockSilence) }

func blockMedia(o *mediaObject, c Command, how uint32) error {
	e, err := elementFor(o)
	if err != nil {
		return err
	}
	for _, k := range mediaOf(c) {
		kinds := []mediaKind{k}
		e.blockFor(how, kinds, time.Duration(c.For), func() { e.block(blockNone, kinds) })
	}
	return nil
}

func flapMedia(o *mediaObject, c Command) error {
	e, err := elementFor(o)
	switch {
	case err != nil:
		return err
	case c.On <= 0 || c.Off <= 0:
		return errors.New("on and off must say for how long")
	}
	for _, k := range mediaOf(c) {
		kinds := []mediaKind{k}
		var off, on func()
		off = func() { e.blockFor(blockStall, kinds, time.Duration(c.Off), on) }
		on = func() { e.blockFor(blockNone, kinds, time.Duration(c.On), off) }
		off()
	}
	return nil
}

func restoreMedia(o *mediaObject, c Command) error {
	e, err := elementFor(o)
	if err != nil {
		return err
	}
	e.block(blockNone, mediaOf(c))
	return nil
}

func reportTranscoding(o *mediaObject, c Command) error {
	e, err := elementFor(o)
	if err != nil {
		return err
	}
	for _, k := range mediaOf(c) {
		e.pulled[k].Store(true)
		o.srv.emit(o, "MediaTranscodingStateChanged", object{
			"binName": e.binName(k), "mediaType": k.String(), "state": "TRANSCODING",
		})
	}
	return nil
}

// recorderFailures are the errors of the disk that a recorder can be made to
// report.
var recorderFailures = map[string]error{"open": syscall.EACCES, "write": syscall.EIO, "no_space": syscall.ENOSPC}

// failRecorder lets a recorder fail from now on: it reports that at once, and
// writes no more.
func failRecorder(o *mediaObject, c Command) error {
	r, ok := o.impl.(*recorderEndpoint)
	if !ok {
		return fmt.Errorf("a %s records nothing", o.class.name)
	}
	if c.Failure == "none" {
		delete(o.srv.recorderFaults, o.id)
		return nil
	}
	err, ok := recorderFailures[c.Failure]
	if !ok {
		return fmt.Errorf("failure is %q; it must be no_space, open, write or none", c.Failure)
	}
	o.srv.recorderFaults[o.id] = c.Failure
	if told, _ := r.file(); c.Failure == "open" {
		r.reportOpen(told, err)
	} else {
		r.reportWrite(err, false)
	}
	return nil
}

// recorderFault tells a recorder whether it can write: "" or the name of the
// failure. The lock is held.
func (s *Server) recorderFault(o *mediaObject) string { return s.recorderFaults[o.id] }
