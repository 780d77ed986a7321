package kms_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/simclient/media"
)

// tape is a recorder with what it reported.
type tape struct {
	server.Recorder
	t    *testing.T
	file string

	mu     sync.Mutex
	events []server.RecorderEvent
	more   chan struct{}
}

// tape makes a recorder that writes into the test's folder, which the media
// server must see too.
func (s *studio) tape(p server.Pipeline, media ...string) *tape {
	s.t.Helper()
	if !s.loopback {
		s.t.Skip("the media server is not on this machine: its files cannot be looked at")
	}
	r := &tape{t: s.t, file: filepath.Join(s.t.TempDir(), "made", "by-the-recorder.webm"), more: make(chan struct{}, 1)}
	made, err := p.NewRecorder(s.t.Context(), "file://"+r.file, r.hear, media...)
	must(s.t, err)
	r.Recorder = made
	return r
}

func (r *tape) hear(e server.RecorderEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *tape) heard(kind server.RecorderEventKind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.events, func(e server.RecorderEvent) bool { return e.Kind == kind })
}

func (r *tape) reported() []server.RecorderEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

func (r *tape) await(kind server.RecorderEventKind) {
	r.t.Helper()
	until(r.t, "recorder "+kind.String(), func() bool { return r.heard(kind) })
}

// reel is what ffprobe says of a file.
type reel struct {
	seconds float64
	packets map[string]int // by codec
}

func (r *tape) probe() reel {
	r.t.Helper()
	ffprobe, err := exec.LookPath("ffprobe")
	if err != nil {
		r.t.Skip("ffprobe is not installed: the file cannot be looked into")
	}
	out, err := exec.Command(ffprobe, "-v", "error", "-count_packets", "-of", "json",
		"-show_entries", "format=duration:stream=codec_name,nb_read_packets", r.file).CombinedOutput()
	if err != nil {
		r.t.Fatalf("ffprobe: %v: %s", err, out)
	}
	var said struct {
		Streams []struct {
			Codec   string `json:"codec_name"`
			Packets string `json:"nb_read_packets"`
		}
		Format struct{ Duration string }
	}
	must(r.t, json.Unmarshal(out, &said))
	found := reel{packets: make(map[string]int)}
	found.seconds, err = strconv.ParseFloat(said.Format.Duration, 64)
	must(r.t, err)
	for _, stream := range said.Streams {
		found.packets[stream.Codec], err = strconv.Atoi(stream.Packets)
		must(r.t, err)
	}
	return found
}

// records lets a recorder run while a source sends so many units, and stops it.
// It returns for how long the recorder surely wrote, and for how long it may
// have.
func (r *tape) records(of *media.Source, units uint64) (least, most time.Duration) {
	r.t.Helper()
	asked := time.Now()
	must(r.t, r.Record(r.t.Context()))
	r.await(server.RecorderStarted)
	began, sent := time.Now(), of.Stats().Units
	until(r.t, "the recorder has enough", func() bool { return of.Stats().Units >= sent+units })
	least = time.Since(began)
	r.stop()
	return least, time.Since(asked)
}

// stop completes the file.
func (r *tape) stop() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	must(r.t, r.Stop(ctx))
	if !r.heard(server.RecorderStopped) || r.heard(server.RecorderFailed) {
		r.t.Errorf("the recorder reported %v", r.reported())
	}
}

// shows checks the length of the file and which codecs it has. What is on its
// way through a busy machine at the beginning or the end may be missing.
func (r *tape) shows(least, most time.Duration, codecs ...string) {
	r.t.Helper()
	const onItsWay = 1.0
	got := r.probe()
	if got.seconds < least.Seconds()-onItsWay || got.seconds > most.Seconds()+onItsWay/2 {
		r.t.Errorf("the file is %.2f s long, and was written for %v to %v", got.seconds, least, most)
	}
	if len(got.packets) != len(codecs) {
		r.t.Errorf("the file has %v, want %q", got.packets, codecs)
	}
	for _, codec := range codecs {
		if got.packets[codec] < 10 {
			r.t.Errorf("the file has %d packets of %s", got.packets[codec], codec)
		}
	}
}

// TestServiceRecorder records a publisher in each of the ways in which a member
// can send and a recorder can be made.
func TestServiceRecorder(t *testing.T) {
	t.Parallel()
	both := cast{audio: media.ClipOpus, video: media.ClipVP8}
	for name, c := range map[string]struct {
		cast   cast
		media  []string
		codecs []string
	}{
		"both":                  {both, nil, []string{"vp8", "opus"}},
		"both named":            {both, []string{server.Audio, server.Video}, []string{"vp8", "opus"}},
		"audio of one with all": {both, []string{server.Audio}, []string{"opus"}},
		"video of one with all": {both, []string{server.Video}, []string{"vp8"}},
		"audio of one without video": {cast{audio: media.ClipOpus}, []string{server.Audio},
			[]string{"opus"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			studios(t, func(t *testing.T, s *studio) {
				p := s.pipeline()
				a := s.actor(p, "ann", c.cast)
				a.send()
				r := s.tape(p, c.media...)
				must(t, a.leg.Connect(t.Context(), r))
				least, most := r.records(a.sources[len(a.sources)-1], 60)
				must(t, r.Release(t.Context()))
				r.shows(least, most, c.codecs...)
			})
		})
	}
}

// TestServiceRecorderBeforeMedia is told to record before anything is sent:
// the file begins with the media.
func TestServiceRecorderBeforeMedia(t *testing.T) {
	t.Parallel()
	studios(t, func(t *testing.T, s *studio) {
		p := s.pipeline()
		a := s.actor(p, "ann", cast{audio: media.ClipOpus, video: media.ClipVP8})
		r := s.tape(p)
		must(t, a.leg.Connect(t.Context(), r))
		must(t, r.Record(t.Context()))
		a.send()
		least, most := r.records(a.sources[1], 60)
		r.shows(least, most+time.Second, "vp8", "opus") // it may have begun before records counted
	})
}

// TestServiceRecorderStarved gives a recorder of both kinds audio only: it
// never starts, says so when it is stopped, and holds nobody up.
func TestServiceRecorderStarved(t *testing.T) {
	t.Parallel()
	studios(t, func(t *testing.T, s *studio) {
		ctx, p := t.Context(), s.pipeline()
		a := s.actor(p, "ann", cast{audio: media.ClipOpus})
		a.send()
		r := s.tape(p)
		must(t, a.leg.Connect(ctx, r))
		must(t, r.Record(ctx))
		r.await(server.RecorderFlowIn)
		if err := r.Stop(ctx); !errors.Is(err, server.ErrNothingRecorded) || r.heard(server.RecorderStarted) {
			t.Errorf("%v; %v", err, r.reported())
		}
		must(t, r.Release(ctx))
		b := s.actor(p, "ben", cast{recvonly: true, from: []string{"ann"}})
		must(t, a.leg.Connect(ctx, b.leg))
		b.gets(media.Opus, 20, false)
	})
}

// TestServiceRecorderWithoutFile writes where nothing can be written.
func TestServiceRecorderWithoutFile(t *testing.T) {
	t.Parallel()
	studios(t, func(t *testing.T, s *studio) {
		ctx, p := t.Context(), s.pipeline()
		a := s.actor(p, "ann", cast{audio: media.ClipOpus, video: media.ClipVP8})
		a.send()
		r := &tape{t: t, more: make(chan struct{}, 1)}
		made, err := p.NewRecorder(ctx, "file:///proc/no/such/place.webm", r.hear)
		must(t, err)
		r.Recorder = made
		must(t, a.leg.Connect(ctx, r))
		must(t, r.Record(ctx))
		r.await(server.RecorderFailed)
		err = r.Stop(ctx)
		if !errors.Is(err, server.ErrNothingRecorded) {
			t.Errorf("%v; %v", err, r.reported())
		}
		t.Log(err)
		must(t, r.Release(ctx))
	})
}

// TestServiceRecorderOfMixer records a room of two that hear each other over
// their own connection, and are mixed for the recorder only.
func TestServiceRecorderOfMixer(t *testing.T) {
	t.Parallel()
	studios(t, func(t *testing.T, s *studio) {
		ctx, p := t.Context(), s.pipeline()
		mixer, err := p.NewMixer(ctx)
		must(t, err)
		a := s.actor(p, "ann", cast{audio: media.ClipOpus, video: media.ClipBarcode, from: []string{"ben"}})
		b := s.actor(p, "ben", cast{audio: media.ClipOpus, video: media.ClipBarcode, from: []string{"ann"}})
		must(t, a.leg.Connect(ctx, b.leg))
		must(t, b.leg.Connect(ctx, a.leg))
		for _, m := range []*actor{a, b} {
			port, err := mixer.NewPort(ctx)
			must(t, err)
			must(t, m.leg.Connect(ctx, port))
			m.send()
		}
		out, err := mixer.NewPort(ctx)
		must(t, err)
		r := s.tape(p)
		must(t, out.Connect(ctx, r))
		least, most := r.records(a.sources[1], 90)
		r.shows(least, most, "vp8", "opus")
		a.gets(media.VP8, 90, false) // the call itself is not transcoded
		b.gets(media.VP8, 90, false)
		if s.real {
			r.showsBarcodes(a.barcode(), b.barcode())
		}
		must(t, mixer.Release(ctx))
	})
}

func (a *actor) barcode() media.Identity {
	return media.Identity{Call: a.s.t.Name(), Participant: a.name}
}

// showsBarcodes decodes the file and reads in its last picture who is in it.
func (r *tape) showsBarcodes(who ...media.Identity) {
	r.t.Helper()
	found := r.look()
	for _, id := range who {
		if !slices.ContainsFunc(found, func(s media.Sighting) bool { return s.Names(id) }) {
			r.t.Errorf("%s is not in the picture, which shows %v", id.Participant, found)
		}
	}
	if len(found) != len(who) {
		r.t.Errorf("the picture shows %v", found)
	}
}

// look scans the last picture of the file, as ffmpeg decodes it.
func (r *tape) look() []media.Sighting {
	r.t.Helper()
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		r.t.Skip("ffmpeg is not installed: no picture can be looked at")
	}
	raw := filepath.Join(r.t.TempDir(), "picture.gray")
	out, err := exec.Command(ffmpeg, "-v", "error", "-i", r.file,
		"-vf", fmt.Sprintf("fps=4,scale=%d:%d", mixWidth, mixHeight), "-pix_fmt", "gray", "-f", "rawvideo", raw).CombinedOutput()
	if err != nil {
		r.t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	pix, err := os.ReadFile(raw)
	must(r.t, err)
	return scan(pix[max(len(pix)-mixWidth*mixHeight, 0):])
}

// The size of a mixer's picture by Kurento's default, in pixels.
const mixWidth, mixHeight = 800, 600

func scan(pix []byte) []media.Sighting {
	var s media.Scanner
	return s.Scan(&image.Gray{Pix: pix, Stride: mixWidth, Rect: image.Rect(0, 0, mixWidth, mixHeight)})
}
