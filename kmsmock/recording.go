package kmsmock

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4/pkg/media/samplebuilder"

	"github.com/callbench/callbench/kmsmock/clip"
)

const (
	// recordingQueue is how many packets wait for the disk; more are lost, as
	// on a network.
	recordingQueue = 4096
	// headFrames is how many frames wait for the first of the other medium,
	// without which the head of the file cannot be written.
	headFrames = 2048
	// reorderDepth is how many packets a late one may come behind.
	reorderDepth = 64
	// drift is how far the time stamps of a stream may run ahead of its
	// packets before they count as begun anew.
	drift = 5 * time.Second
)

// A recording turns packets into a file. The media path gives it packets, a
// goroutine of its own puts them together and writes.
type recording struct {
	recorder *recorderEndpoint
	file     clip.File // nil: media goes nowhere
	seen     [2]atomic.Bool
	done     chan struct{} // closed when the file is complete

	mu       sync.Mutex
	queue    chan recordedPacket
	ended    bool
	running  bool // neither paused nor ended
	began    time.Time
	pausedAt time.Time
	paused   time.Duration // in all
	streams  [2]uint64     // whose key frame has come

	tracks  [2]*recordedTrack // by kind; below, the goroutine's own
	waiting []clip.Frame
	writer  *clip.Writer
	err     error
}

// A recordedPacket is a packet on its way to the file.
type recordedPacket struct {
	packet *rtp.Packet
	kind   mediaKind
	codec  *codec
	stream uint64
	at     time.Duration // since the first packet, by the server's clock
	paused time.Duration
	from   keyFrameSource
}

// packets are the copies that wait for recordings.
var packets = sync.Pool{New: func() any { return &rtp.Packet{Payload: make([]byte, 0, maxDatagram)} }}

func newRecording(r *recorderEndpoint) *recording {
	return &recording{recorder: r, done: make(chan struct{}), queue: make(chan recordedPacket, recordingQueue)}
}

// take copies a packet for the file. It returns false for what does not count
// as taken: media that the profile has not, and video before a key frame.
func (rec *recording) take(p *packet) bool {
	if !slices.Contains(rec.recorder.profile.kinds, p.kind) {
		return false
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.ended {
		return false
	}
	if !rec.running {
		return rec.seen[p.kind].Load()
	}
	if p.kind == kindVideo && rec.streams[p.kind] != p.stream+1 {
		p.from.wantKeyFrame()
		if !p.key {
			return false
		}
		rec.streams[p.kind] = p.stream + 1
	}
	if rec.began.IsZero() {
		rec.began = p.at
	}
	rec.push(p)
	return true
}

// push queues a copy. The recording's lock is held.
func (rec *recording) push(p *packet) {
	c := packets.Get().(*rtp.Packet)
	c.Header = rtp.Header{SequenceNumber: p.seq, Timestamp: p.ts, Marker: p.marker}
	c.Payload = append(c.Payload[:0], p.payload...)
	item := recordedPacket{packet: c, kind: p.kind, codec: p.codec, stream: p.stream, at: p.at.Sub(rec.began), paused: rec.paused, from: p.from}
	select {
	case rec.queue <- item:
	default:
		packets.Put(c)
	}
}

// resume takes media from now on, video from a key frame.
func (rec *recording) resume(now time.Time) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !rec.pausedAt.IsZero() {
		rec.paused += now.Sub(rec.pausedAt)
		rec.pausedAt = time.Time{}
	}
	rec.running = true
	rec.streams = [2]uint64{}
}

func (rec *recording) pause(now time.Time) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.running, rec.pausedAt = false, now
}

// end lets the file be completed with what has come.
func (rec *recording) end() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !rec.ended {
		rec.ended, rec.running = true, false
		close(rec.queue)
	}
}

// run writes until end, and completes the file.
func (rec *recording) run() {
	defer close(rec.done)
	for item := range rec.queue {
		rec.put(item)
	}
	for _, t := range rec.tracks {
		if t != nil {
			t.builder.Flush()
			rec.collect(t)
		}
	}
	rec.complete()
}

// complete closes the file and tells the recorder.
func (rec *recording) complete() {
	var err error
	switch {
	case rec.writer != nil:
		err = rec.writer.Close()
	case rec.file != nil:
		err = rec.file.Close()
	}
	r := rec.recorder
	s := r.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.closed {
		return
	}
	if r.scheme() == "http" || r.scheme() == "https" {
		return // Kurento never gets to STOP
	}
	r.stopped()
	if err != nil {
		r.reportWrite(err, true)
	}
}

// A recordedTrack puts the frames of one medium together.
type recordedTrack struct {
	codec    *codec
	kind     mediaKind
	stream   uint64
	builder  *samplebuilder.SampleBuilder
	from     keyFrameSource
	anchorTS uint32
	anchorAt time.Duration
	times    map[uint32]time.Duration // of the time stamps on their way
	last     time.Duration
	first    *clip.Frame
}

// depacketizers are by codec name; others cannot be recorded.
var depacketizers = map[string]func() rtp.Depacketizer{
	clip.VP8:  func() rtp.Depacketizer { return &codecs.VP8Packet{} },
	clip.VP9:  func() rtp.Depacketizer { return &codecs.VP9Packet{} },
	clip.H264: func() rtp.Depacketizer { return &codecs.H264Packet{} },
	clip.Opus: func() rtp.Depacketizer { return &codecs.OpusPacket{} },
	clip.PCMU: func() rtp.Depacketizer { return &codecs.OpusPacket{} }, // one packet, one frame
	clip.PCMA: func() rtp.Depacketizer { return &codecs.OpusPacket{} },
}

func (rec *recording) put(item recordedPacket) {
	t := rec.tracks[item.kind]
	if t == nil || t.stream != item.stream || t.codec != item.codec {
		if t != nil {
			t.builder.Flush()
			rec.collect(t)
		}
		if t = t.follow(item); t == nil {
			packets.Put(item.packet)
			return
		}
		rec.tracks[item.kind] = t
	}
	t.note(item)
	t.builder.Push(item.packet)
	rec.collect(t)
}

// follow begins a stream, in the place of one before it or as the first (t is
// nil then). The codec of a track stays what it was: nil for another one.
func (t *recordedTrack) follow(item recordedPacket) *recordedTrack {
	depacketizer := depacketizers[item.codec.name]
	if depacketizer == nil || t != nil && t.codec.name != item.codec.name {
		return nil
	}
	next := &recordedTrack{
		codec: item.codec, kind: item.kind, stream: item.stream, from: item.from,
		anchorTS: item.packet.Timestamp, anchorAt: item.at, times: map[uint32]time.Duration{},
		builder: samplebuilder.New(reorderDepth, depacketizer(), item.codec.clock,
			samplebuilder.WithPacketReleaseHandler(func(p *rtp.Packet) { packets.Put(p) })),
	}
	if t != nil {
		next.last, next.first = t.last, t.first
	}
	return next
}

// note works out when a packet's frame is to be shown: its time stamp on from
// the stream's first, less the pauses.
func (t *recordedTrack) note(item recordedPacket) {
	ts := item.packet.Timestamp
	at := t.anchorAt + time.Duration(int32(ts-t.anchorTS))*time.Second/time.Duration(t.codec.clock)
	if at > item.at+drift || at < t.anchorAt-drift {
		t.anchorTS, t.anchorAt, at = ts, item.at, item.at
	}
	if len(t.times) > 4*reorderDepth {
		clear(t.times)
	}
	t.times[ts] = at - item.paused
}

// collect takes the frames that are complete. One that is not is left out, and
// a key frame asked for.
func (rec *recording) collect(t *recordedTrack) {
	for s := t.builder.Pop(); s != nil; s = t.builder.Pop() {
		if s.PrevDroppedPackets > 0 && t.kind == kindVideo {
			t.from.wantKeyFrame()
		}
		at, known := t.times[s.PacketTimestamp]
		delete(t.times, s.PacketTimestamp)
		if !known || len(s.Data) == 0 {
			continue
		}
		t.last = max(at, t.last)
		f := clip.Frame{Track: int(t.kind), At: t.last, Key: clip.Key(t.codec.name, s.Data), Data: s.Data}
		if t.first == nil {
			if t.kind == kindVideo && !f.Key {
				continue
			}
			t.first = &f
		}
		rec.write(f)
	}
}

// write gives a frame to the file, or keeps it until the file has a head.
func (rec *recording) write(f clip.Frame) {
	if rec.writer == nil {
		if rec.waiting = append(rec.waiting, f); len(rec.waiting) > headFrames {
			rec.waiting = rec.waiting[1:]
		}
		rec.begin()
		return
	}
	if rec.err != nil {
		return
	}
	if rec.err = rec.writer.Write(rec.track(f)); rec.err != nil {
		rec.failed(rec.err)
	}
}

// track numbers a frame's track: in the order of the profile.
func (rec *recording) track(f clip.Frame) clip.Frame {
	f.Track = slices.Index(rec.recorder.profile.kinds, mediaKind(f.Track))
	return f
}

// begin writes the head once all tracks are known, and what waited for it.
func (rec *recording) begin() {
	var tracks []clip.Track
	var keys [][]byte
	format := rec.recorder.profile.format
	for _, k := range rec.recorder.profile.kinds {
		t := rec.tracks[k]
		if t == nil || t.first == nil {
			return
		}
		track := clip.Track{Codec: t.codec.name, Channels: 2}
		track.Width, track.Height = clip.Size(track.Codec, t.first.Data)
		if !clip.CanWrite(format, track.Codec) {
			format = clip.Matroska
		}
		tracks, keys = append(tracks, track), append(keys, t.first.Data)
	}
	waiting := rec.waiting
	rec.waiting = nil
	if rec.file == nil {
		return
	}
	w, err := clip.NewWriter(rec.file, format, tracks, keys)
	if err != nil {
		rec.file, rec.err = nil, err
		rec.failed(err)
		return
	}
	rec.writer = w
	slices.SortStableFunc(waiting, func(a, b clip.Frame) int { return int(min(max(a.At-b.At, -1), 1)) })
	for _, f := range waiting {
		rec.write(f)
	}
}

// failed reports the first error of writing.
func (rec *recording) failed(err error) {
	s := rec.recorder.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if !rec.recorder.closed {
		rec.recorder.reportWrite(err, false)
	}
}

// A recordingStep is a point where recording can fail on demand.
type recordingStep string

const (
	stepOpen  recordingStep = "open"
	stepWrite recordingStep = "write"
)

// A recordingFault makes a step fail; nil lets it be.
type recordingFault func(step recordingStep) error

// errCommanded is a failure that a command asked for, and has reported.
var errCommanded = errors.New("kmsmock: recorder fails on command")

// faultAt is the failure that is asked for at a step. The lock is held.
func (s *Server) faultAt(step recordingStep, o *mediaObject) error {
	if f := s.recordingFault.Load(); f != nil {
		return (*f)(step)
	}
	if failure := s.recorderFault(o); failure != "" && (failure == "open") == (step == stepOpen) {
		return errCommanded
	}
	return nil
}

// openRecording makes a recorder's file and the folders above it. The lock is
// held, but not while the disk, which may be slow, is at work: the caller must
// look again at what it knew before.
func (s *Server) openRecording(o *mediaObject, path string) (clip.File, error) {
	if err := s.faultAt(stepOpen, o); err != nil {
		return nil, err
	}
	if path == "" {
		return nil, fs.ErrInvalid
	}
	s.mu.Unlock()
	f, err := create(path)
	s.mu.Lock()
	if err != nil {
		return nil, fmt.Errorf("kmsmock: open recording: %w", err)
	}
	out := &recordingFile{file: f, object: o}
	out.buffer = bufio.NewWriterSize(writerFunc(out.write), recordingBuffer)
	return out, nil
}

// create refuses what a write could wait at for ever, such as a FIFO; Close
// waits for a recording's writes.
func create(path string) (*os.File, error) {
	_ = os.MkdirAll(filepath.Dir(path), 0o777) // opening tells of it
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() && info.Mode()&fs.ModeCharDevice == 0 {
		_ = f.Close()
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ENXIO}
	}
	return f, nil
}

// recordingBuffer is what GStreamer's file sink gathers before it writes.
const recordingBuffer = 64 << 10

// A recordingFile is a file whose writes are gathered and can be made to fail.
type recordingFile struct {
	file   *os.File
	buffer *bufio.Writer
	object *mediaObject
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func (f *recordingFile) write(b []byte) (int, error) {
	s := f.object.srv
	s.mu.Lock()
	err := s.faultAt(stepWrite, f.object)
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return f.file.Write(b)
}

// Write adds to the end of the file.
func (f *recordingFile) Write(b []byte) (int, error) { return f.buffer.Write(b) }

// WriteAt changes what is in the file.
func (f *recordingFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.buffer.Flush(); err != nil {
		return 0, err
	}
	return f.file.WriteAt(b, at)
}

// Close writes what is left.
func (f *recordingFile) Close() error {
	return errors.Join(f.buffer.Flush(), f.file.Close())
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// systemError is the C library's text for an error, which begins with a
// capital letter unlike Go's.
func systemError(err error) string {
	var number syscall.Errno
	if !errors.As(err, &number) {
		number = syscall.EIO
	}
	text := number.Error()
	return strings.ToUpper(text[:1]) + string(bytes.ToLower([]byte(text[1:])))
}
