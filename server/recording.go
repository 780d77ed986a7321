package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/callbench/callbench/signaling"
)

// recording is one recording of a room. It begins when every kind of media that is
// to be in it flows, and ends as ready or failed whatever happens. It belongs to
// the room's queue.
//
//	requested ──> recording ──> stopping ──> ready
//	    └─────────────┴────────────┴──────> failed
type recording struct {
	room      *room
	id        string
	path      string
	state     signaling.RecordingState
	recorder  Recorder    // nil until it is made
	out       Element     // the mixer's port that feeds it; nil if nothing is mixed
	starting  bool        // the recorder is being made
	writes    bool        // the recorder said that it writes
	users     []string    // who was in the room meanwhile
	asked     time.Time   // when the recording was requested
	startedAt time.Time   // when it began; zero before
	timer     *time.Timer // until it must have started
	after     []func()    // what waits for its end
}

// handleRecord starts or stops a recording of the room.
func handleRecord(r request) error {
	var in signaling.RTC
	at, err := r.inRoom(&in)
	if err != nil {
		return err
	}
	switch {
	case r.srv.cfg.Recordings == nil:
		return signaling.Errorf(signaling.CodeForbidden, "this server does not record")
	case in.Recording == signaling.RecordStart:
		return at.hand(func() { at.startRecording(r) })
	case in.Recording == signaling.RecordStop:
		return at.hand(func() { at.stopRecording(r) })
	}
	return signaling.Errorf(signaling.CodeBadData, "recording is neither %s nor %s", signaling.RecordStart, signaling.RecordStop)
}

// mayRecord is why a request for recording cannot be done, nil if it can.
func (r *room) mayRecord(req request) error {
	m := r.host.asking(req)
	switch {
	case m == nil || !r.host.mayNegotiate(m) || !r.host.negotiates():
		return r.host.wrongState(m)
	case !r.host.mayRecord(m):
		return signaling.Errorf(signaling.CodeForbidden, "you may not record this room")
	}
	return nil
}

// startRecording begins a recording.
func (r *room) startRecording(req request) {
	if err := r.mayRecord(req); err != nil {
		req.fail(err)
		return
	}
	if r.recording != nil {
		req.fail(signaling.Errorf(signaling.CodeBadState, "the room is being recorded"))
		return
	}
	if err := r.srv.admitRecording(req.user); err != nil {
		req.fail(err)
		return
	}
	rec := &recording{room: r, id: r.srv.cfg.NewID("recording", req.user), state: signaling.RecordingRequested, asked: time.Now()}
	rec.path = r.srv.cfg.Recordings.URI(r.id, rec.id)
	for _, m := range r.members {
		rec.joined(m)
	}
	r.recording = rec
	rec.timer = time.AfterFunc(r.srv.cfg.RecordTimeout, func() {
		r.queue.Do(func() {
			if rec.state == signaling.RecordingRequested {
				rec.fail(errors.New("not everything that it was to record came in time"))
			}
		})
	})
	req.ack(rec.about())
	r.saveMedia()
	r.saveSnapshot()
	rec.move(signaling.RecordingRequested)
	rec.tryStart()
}

// about names the recording on the wire.
func (rec *recording) about() signaling.RTC {
	data := rec.room.ref()
	data.Recording, data.RecordingID = string(rec.state), rec.id
	return data
}

// joined notes who is in the recording.
func (rec *recording) joined(m *member) {
	if rec != nil && !m.joined.IsZero() && !m.left && !slices.Contains(rec.users, m.user) {
		rec.users = append(rec.users, m.user)
	}
}

// move goes to a new state, and writes down and tells the members that.
func (rec *recording) move(to signaling.RecordingState) {
	rec.state = to
	rec.tell(rec.row())
}

// tell writes the recording's row and tells the members of its state.
func (rec *recording) tell(row RecordingHistory) {
	r := rec.room
	r.log.Info("recording."+string(rec.state), "recording", rec.id, "bytes", row.FileSize)
	r.save("record recording", func(ctx context.Context) error { return r.srv.cfg.History.RecordingChanged(ctx, row) }, nil)
	for _, m := range r.members {
		if m.invited && !m.left && !m.gone { // gone and not left: another device is in the call
			r.push(m, signaling.ActionRecording, rec.about())
		}
	}
}

func (rec *recording) row() RecordingHistory {
	started := rec.startedAt
	if started.IsZero() { // the row has its place from the request on
		started = rec.asked
	}
	return RecordingHistory{RecordingID: rec.id, RoomID: rec.room.id, File: rec.path, StartedAt: started,
		Participants: slices.Clone(rec.users), Status: string(rec.state)}
}

// tryStart begins to write when every kind of media that the members send flows:
// a recorder that waits for one that does not come would never write.
func (rec *recording) tryStart() {
	if rec.state != signaling.RecordingRequested || rec.starting {
		return
	}
	sources, mixed := rec.room.host.recordable()
	kinds := kindsOf(sources)
	if len(kinds) == 0 {
		return
	}
	rec.starting = true
	rec.room.startRecorder(rec, sources, mixed, kinds)
}

// kindsOf are the kinds of media that are to be recorded, if each flows from one of
// the sources that send it.
func kindsOf(sources []*member) (kinds []string) {
	for _, kind := range []string{Audio, Video} {
		sent, flows := false, false
		for _, m := range sources {
			if m.leg == nil || m.leg.dead || m.leg.answer == "" {
				continue
			}
			sent = sent || m.leg.offer.sends(kind)
			flows = flows || m.leg.flows[kind]
		}
		if sent && !flows {
			return nil
		}
		if sent {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// startRecorder makes the recorder and what feeds it, and lets it write.
func (r *room) startRecorder(rec *recording, sources []*member, mixed bool, kinds []string) {
	feed := r.newFeeder(sources)
	on := func(e RecorderEvent) { r.queue.Do(func() { rec.event(e) }) }
	var made Recorder
	r.do("start recorder", []any{"recording", rec.id}, func(ctx context.Context) (err error) {
		if made, err = feed.pipeline.NewRecorder(ctx, rec.path, on, kinds...); err != nil {
			return err
		}
		if err = feed.connect(ctx, made, mixed); err != nil {
			return err
		}
		return made.Record(ctx)
	}, func(err error) {
		rec.recorder, rec.out = made, feed.out
		r.keepPorts(feed)
		rec.recorderStarted(feed, err)
	})
}

// recorderStarted goes on when the recorder was told to write, or could not be.
func (rec *recording) recorderStarted(feed *feeder, err error) {
	r := rec.room
	switch {
	case r.recording != rec: // it was stopped, or failed, meanwhile
		rec.release(func() {})
	case errors.Is(err, ErrMediaGone) && r.pipeline == feed.pipeline && feed.outdated(): // a leg was replaced meanwhile
		rec.release(func() {
			rec.starting = false
			rec.tryStart()
		})
	case err != nil:
		rec.fail(err)
	default:
		rec.refeed(feed)
		rec.began()
	}
}

// refeed connects the legs that came in the place of others while the recorder was
// being made: they could not know of it.
func (rec *recording) refeed(fed *feeder) {
	r := rec.room
	sources, mixed := r.host.recordable()
	for _, m := range sources {
		l := m.leg
		if l == nil || l.dead || l.endpoint == nil || fed.legs[m] != nil && fed.legs[m].ID() == l.endpoint.ID() {
			continue
		}
		var sink Element = rec.recorder
		if mixed {
			sink = m.port
		}
		if sink != nil {
			r.do("connect recorder", l.party(), func(ctx context.Context) error { return l.endpoint.Connect(ctx, sink) }, func(error) {})
		}
	}
}

// feeder connects members with a recorder, beside the queue.
type feeder struct {
	pipeline Pipeline
	mixer    Mixer
	members  []*member
	legs     map[*member]Element
	ports    map[*member]Element // nil where one must be made
	wired    bool                // those that there are are connected with their legs
	out      Element
}

// newFeeder is what there is of these members to be recorded.
func (r *room) newFeeder(sources []*member) *feeder {
	f := &feeder{wired: r.kind == RoomMCU, pipeline: r.pipeline, mixer: r.mixer, ports: make(map[*member]Element), legs: make(map[*member]Element)}
	for _, m := range sources {
		if m.leg != nil && !m.leg.dead && m.leg.endpoint != nil {
			f.members = append(f.members, m)
			f.legs[m], f.ports[m] = m.leg.endpoint, m.port
		}
	}
	return f
}

// keepPorts takes over the mixer and the ports that were made for a recorder, unless
// the pipeline that they are of was lost meanwhile.
func (r *room) keepPorts(f *feeder) {
	if r.pipeline != f.pipeline {
		return
	}
	r.mixer = f.mixer
	for _, m := range f.members {
		if m.port == nil && !m.left {
			m.port = f.ports[m]
		}
	}
}

func (f *feeder) connect(ctx context.Context, to Recorder, mixed bool) (err error) {
	if !mixed {
		return f.legs[f.members[0]].Connect(ctx, to)
	}
	if f.mixer == nil {
		if f.mixer, err = f.pipeline.NewMixer(ctx); err != nil {
			return err
		}
	}
	for _, m := range f.members {
		if f.ports[m] != nil && f.wired { // it is connected already
			continue
		}
		if f.ports[m] == nil {
			if f.ports[m], err = f.mixer.NewPort(ctx); err != nil {
				return err
			}
		}
		if err = f.legs[m].Connect(ctx, f.ports[m]); err != nil {
			return err
		}
	}
	if f.out, err = f.mixer.NewPort(ctx); err != nil {
		return err
	}
	return f.out.Connect(ctx, to)
}

// outdated reports whether a leg that was to be recorded is not the member's any
// more.
func (f *feeder) outdated() bool {
	return slices.ContainsFunc(f.members, func(m *member) bool {
		return m.leg == nil || m.leg.dead || m.leg.endpoint == nil || m.leg.endpoint.ID() != f.legs[m].ID()
	})
}

// event is what the media server reports of the recorder.
func (rec *recording) event(e RecorderEvent) {
	switch {
	case e.Kind == RecorderStarted:
		rec.writes, rec.startedAt = true, time.Now()
		rec.began()
	case e.Kind == RecorderFailed, e.Kind == RecorderLost:
		rec.fail(errors.New(e.Detail))
	}
}

// began moves on when the recorder is made and writes.
func (rec *recording) began() {
	if rec.writes && rec.recorder != nil && rec.state == signaling.RecordingRequested {
		rec.timer.Stop()
		rec.move(signaling.RecordingRuns)
	}
}

// stopRecording ends the room's recording.
func (r *room) stopRecording(req request) {
	if err := r.mayRecord(req); err != nil {
		req.fail(err)
		return
	}
	rec := r.recording
	if rec == nil || rec.state == signaling.RecordingStopping {
		req.fail(signaling.Errorf(signaling.CodeBadState, "the room is not being recorded"))
		return
	}
	req.ack(rec.about())
	rec.stop()
}

// endRecording ends the room's recording, if there is one, and continues when it
// has ended.
func (r *room) endRecording(then func()) {
	rec := r.recording
	if rec == nil {
		then()
		return
	}
	rec.after = append(rec.after, then)
	rec.stop()
}

// whenFiled continues when no file is being completed: what feeds it stays until
// then.
func (r *room) whenFiled(then func()) {
	if rec := r.recording; rec != nil && rec.state == signaling.RecordingStopping {
		rec.after = append(rec.after, then)
		return
	}
	then()
}

// stop completes the file.
func (rec *recording) stop() {
	switch rec.state {
	case signaling.RecordingRequested:
		rec.fail(ErrNothingRecorded)
	case signaling.RecordingRuns:
		ended := time.Now()
		rec.move(signaling.RecordingStopping)
		var size int64
		r, recorder := rec.room, rec.recorder
		r.do("stop recorder", []any{"recording", rec.id}, func(ctx context.Context) error {
			err := recorder.Stop(ctx)
			if err == nil {
				size, err = r.srv.cfg.Recordings.Size(ctx, rec.path)
			}
			return err
		}, func(err error) {
			if err != nil {
				rec.fail(err)
				return
			}
			rec.finish(signaling.RecordingReady, ended, size)
		})
	}
}

// fail ends a recording that cannot be.
func (rec *recording) fail(err error) {
	if rec.room.recording != rec { // it has ended
		return
	}
	rec.room.log.Warn("recording.error", "recording", rec.id, "error", err.Error())
	rec.finish(signaling.RecordingFailed, time.Now(), 0)
}

// finish writes the end down and gives back what the recording was made with.
func (rec *recording) finish(state signaling.RecordingState, ended time.Time, size int64) {
	r := rec.room
	if r.recording != rec { // it has ended: the media server may report an error behind the last frame
		return
	}
	rec.timer.Stop()
	r.recording = nil
	r.saveMedia()
	r.saveSnapshot()
	rec.state = state
	row := rec.row()
	row.EndedAt, row.FileSize = ended, size
	rec.tell(row)
	rec.release(func() {
		for _, f := range rec.after {
			f()
		}
	})
}

// release releases the recorder and the port that feeds it.
func (rec *recording) release(then func()) {
	recorder, out := rec.recorder, rec.out
	rec.recorder, rec.out = nil, nil
	if recorder == nil {
		then()
		return
	}
	rec.room.do("release recorder", []any{"recording", rec.id}, func(ctx context.Context) error {
		err := recorder.Release(ctx)
		if out != nil {
			err = errors.Join(err, out.Release(ctx))
		}
		return err
	}, func(error) { then() })
}
