package media

import (
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// logWriter keeps what a source wrote.
type logWriter struct {
	mu      sync.Mutex
	packets []rtp.Packet
	times   []time.Time
	refuse  error
	absent  bool // no connection yet
}

func (w *logWriter) WriteRTP(header *rtp.Header, payload []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil || w.absent {
		return 0, w.refuse
	}
	w.packets = append(w.packets, rtp.Packet{Header: header.Clone(), Payload: append([]byte(nil), payload...)})
	w.times = append(w.times, time.Now())
	return 12 + len(payload), nil
}

// written returns what was written so far.
func (w *logWriter) written() ([]rtp.Packet, []time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.packets, w.times
}

func (w *logWriter) count() int {
	packets, _ := w.written()
	return len(packets)
}

func (w *logWriter) connect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.absent = false
}

// runSource starts a source in a bubble and hands it over.
func runSource(t *testing.T, clip string, w Writer, f func(s *Source)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(PacerConfig{})
		defer p.Close()
		s := newTestSource(t, p, clip, w)
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f(s)
		s.Stop()
	})
}

func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestSourceRTP(t *testing.T) {
	for _, name := range everyCodec {
		w := &logWriter{}
		clip := mustLoad(t, name)
		runSource(t, name, w, func(*Source) { sleep(10 * time.Second) })
		packets, times := w.written()
		start, first := times[0], packets[0]
		frame := int64(0)
		for i, p := range packets {
			if i > 0 && p.Timestamp != packets[i-1].Timestamp {
				frame++
			}
			if want := first.SequenceNumber + uint16(i); p.SequenceNumber != want {
				t.Fatalf("%s packet %d: sequence %d, want %d", name, i, p.SequenceNumber, want)
			}
			if want := first.Timestamp + uint32(frame)*clip.rtpTicks(1); p.Timestamp != want {
				t.Fatalf("%s packet %d: timestamp %d, want %d", name, i, p.Timestamp, want)
			}
			if want := start.Add(clip.Offset(frame)); !times[i].Equal(want) {
				t.Fatalf("%s packet %d: sent %v, want %v", name, i, times[i].Sub(start), want.Sub(start))
			}
			last := i+1 < len(packets) && packets[i+1].Timestamp != p.Timestamp
			if i+1 < len(packets) && p.Marker != (last && name != ClipOpus) {
				t.Fatalf("%s packet %d: marker bit %v", name, i, p.Marker)
			}
			if len(p.Payload) > maxPayload || p.Version != 2 {
				t.Fatalf("%s packet %d: %d bytes", name, i, len(p.Payload))
			}
		}
		if want := int64(10 * clip.den); frame != want {
			t.Errorf("%s: %d units in 10 s, want %d", name, frame, want)
		}
	}
}

// isKey tells whether the frame that the packet starts can be decoded on its own.
func isKey(codec Codec, p rtp.Packet) bool {
	if codec == H264 {
		return nalType(p.Payload) == nalSTAPA
	}
	payload, _ := parseVP8Payload(p.Payload)
	return payload.frameStart && vp8KeyFrame(payload.data)
}

func firstAfter(w *logWriter, at time.Time) rtp.Packet {
	packets, times := w.written()
	for i, when := range times {
		if when.After(at) {
			return packets[i]
		}
	}
	return rtp.Packet{}
}

func TestSourceAnswersKeyFrameRequest(t *testing.T) {
	pli, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 1}, &rtcp.PictureLossIndication{MediaSSRC: 2}})
	if err != nil {
		t.Fatal(err)
	}
	fir, err := rtcp.Marshal([]rtcp.Packet{&rtcp.FullIntraRequest{MediaSSRC: 2, FIR: []rtcp.FIREntry{{SSRC: 2}}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, request := range map[string][]byte{"PLI": pli, "FIR": fir} {
		for _, clip := range []string{ClipVP8, ClipH264} {
			w := &logWriter{}
			runSource(t, clip, w, func(s *Source) {
				sleep(1300 * time.Millisecond)
				asked := time.Now()
				s.HandleRTCP(request)
				sleep(34 * time.Millisecond)
				if !isKey(s.Clip().Codec(), firstAfter(w, asked)) {
					t.Errorf("%s of %s: the next frame is no key frame", name, clip)
				}
				if st := s.Stats(); st.KeyFrameRequests != 1 || st.KeyFrames != 3 {
					t.Errorf("%s of %s: %+v", name, clip, st)
				}
			})
		}
	}
}

func TestOtherRTCPIsNoRequest(t *testing.T) {
	b, err := rtcp.Marshal([]rtcp.Packet{
		&rtcp.SenderReport{SSRC: 1}, &rtcp.TransportLayerNack{Nacks: []rtcp.NackPair{{PacketID: 1}}},
		&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: 1e5, SSRCs: []uint32{1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if wantsKeyFrame(b) || wantsKeyFrame(b[:7]) || wantsKeyFrame(nil) {
		t.Error("a report counts as a request for a key frame")
	}
}

// Before the connection is up nothing is taken; what is taken first is a key frame.
func TestSourceBeginsWithKeyFrame(t *testing.T) {
	for _, clip := range []string{ClipVP8, ClipH264} {
		w := &logWriter{absent: true}
		runSource(t, clip, w, func(s *Source) {
			sleep(500 * time.Millisecond)
			w.connect()
			sleep(time.Second)
			packets, _ := w.written()
			if len(packets) == 0 || !isKey(s.Clip().Codec(), packets[0]) {
				t.Errorf("%s: does not begin with a key frame", clip)
			}
			st := s.Stats()
			if st.Units != 46 || st.Sent != 30 || st.Errors != 0 {
				t.Errorf("%s: %+v", clip, st)
			}
		})
	}
}

func TestSourceUnmutesWithKeyFrame(t *testing.T) {
	w := &logWriter{}
	runSource(t, ClipVP8, w, func(s *Source) {
		sleep(400 * time.Millisecond)
		s.SetMuted(true)
		n := w.count()
		sleep(time.Second)
		if w.count() != n {
			t.Error("a muted source sends")
		}
		s.SetMuted(false)
		unmuted := time.Now()
		sleep(time.Second)
		if !isKey(VP8, firstAfter(w, unmuted)) {
			t.Error("does not begin with a key frame")
		}
	})
}

func TestSourceErrors(t *testing.T) {
	w := &logWriter{refuse: io.ErrClosedPipe}
	runSource(t, ClipOpus, w, func(s *Source) {
		sleep(100 * time.Millisecond)
		if st := s.Stats(); st.Errors != 6 || !errors.Is(st.LastError, io.ErrClosedPipe) || st.Sent != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestSourceStopAndStart(t *testing.T) {
	w := &logWriter{}
	runSource(t, ClipVP8, w, func(s *Source) {
		sleep(510 * time.Millisecond)
		s.Stop()
		n := w.count()
		sleep(time.Second)
		if w.count() != n {
			t.Error("a stopped source sends")
		}
		packets, _ := w.written()
		before := packets[n-1]
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(); err != nil { // twice changes nothing
			t.Fatal(err)
		}
		synctest.Wait()
		packets, _ = w.written()
		p := packets[n]
		if p.SequenceNumber != before.SequenceNumber+1 || !isKey(VP8, p) {
			t.Errorf("sequence %d after %d", p.SequenceNumber, before.SequenceNumber)
		}
		// 1.01 s lie between them, and 30 frames.
		if ticks := p.Timestamp - before.Timestamp; ticks < 90000 || ticks > 97000 {
			t.Errorf("RTP time moved by %d", ticks)
		}
		sleep(500 * time.Millisecond)
		if st := s.Stats(); st.Units != 16+16 {
			t.Errorf("units %d", st.Units)
		}
	})
}

// Stopped and started before the pacer came by: the new run begins at once, and the
// old one is over.
func TestSourceQuickRestart(t *testing.T) {
	w := &logWriter{}
	runSource(t, ClipOpus, w, func(s *Source) {
		sleep(5 * time.Millisecond)
		s.Stop()
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		sleep(200 * time.Millisecond)
		if st := s.Stats(); st.Units != 12 {
			t.Errorf("units %d in 205 ms", st.Units)
		}
		_, times := w.written()
		for i := 2; i < len(times); i++ {
			if d := times[i].Sub(times[i-1]); d != 20*time.Millisecond {
				t.Errorf("packet %d after %v", i, d)
			}
		}
	})
}

// slowWriter blocks now and then, as an overloaded machine does.
type slowWriter struct {
	logWriter
	block time.Duration
}

func (w *slowWriter) WriteRTP(header *rtp.Header, payload []byte) (int, error) {
	time.Sleep(w.block)
	w.block = 0
	return w.logWriter.WriteRTP(header, payload)
}

func TestSourceCatchesUpOrSkips(t *testing.T) {
	for block, skipped := range map[time.Duration]uint64{200 * time.Millisecond: 0, time.Second: 49} {
		w := &slowWriter{block: block}
		runSource(t, ClipOpus, w, func(s *Source) {
			sleep(2*time.Second - time.Millisecond)
			if st := s.Stats(); st.Skipped != skipped || st.Units+st.Skipped != 100 {
				t.Errorf("blocked %v: %+v", block, st)
			}
		})
	}
}

func TestNewSourceNeeds(t *testing.T) {
	if _, err := NewSource(SourceConfig{}); err == nil {
		t.Error("a source of nothing")
	}
	p := NewPacer(PacerConfig{})
	s := newTestSource(t, p, ClipOpus, &logWriter{})
	p.Close()
	if err := s.Start(); !errors.Is(err, ErrPacerClosed) {
		t.Errorf("start on a closed pacer: %v", err)
	}
}

type nullWriter struct{}

func (nullWriter) WriteRTP(_ *rtp.Header, payload []byte) (int, error) { return 12 + len(payload), nil }

func BenchmarkSource(b *testing.B) {
	for _, name := range []string{ClipVP8, ClipVP8Load, ClipH264, ClipOpus} {
		b.Run(name, func(b *testing.B) {
			p := NewPacer(PacerConfig{})
			p.Close()
			s := newTestSource(b, p, name, nullWriter{})
			s.run, s.start = &sourceRun{s}, time.Now()
			b.ReportAllocs()
			now := s.start
			for b.Loop() {
				now, _ = s.run.tick(now)
			}
			st := s.Stats()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(st.Packets), "ns/packet")
		})
	}
}

func TestSourceDoesNotAllocate(t *testing.T) {
	for _, name := range everyCodec {
		p := NewPacer(PacerConfig{})
		p.Close()
		s := newTestSource(t, p, name, nullWriter{})
		s.run, s.start = &sourceRun{s}, time.Now()
		now := s.start
		if n := testing.AllocsPerRun(300, func() { now, _ = s.run.tick(now) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
