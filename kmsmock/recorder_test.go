package kmsmock

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pion/webrtc/v4/pkg/media"
)

var recorderEvents = []string{"UriEndpointStateChanged", "Recording", "Paused", "Stopped", "Error",
	"MediaFlowInStateChanged", "MediaFlowOutStateChanged", "MediaTranscodingStateChanged"}

// newRecorder makes a recorder that a peer's endpoint feeds.
func newRecorder(kms *testClient, pipe, source, uri string, more map[string]any) string {
	args := map[string]any{"mediaPipeline": pipe, "uri": uri}
	for k, v := range more {
		args[k] = v
	}
	r := kms.create("RecorderEndpoint", args)
	kms.subscribe(r, recorderEvents...)
	if source != "" {
		kms.invoke(source, "connect", map[string]any{"sink": r})
	}
	return r
}

// joined is a pipeline with one endpoint that a peer is connected to.
func joined(kms *testClient, p *testPeer) (pipe string) {
	p.t.Helper()
	pipe = kms.create("MediaPipeline", nil)
	p.endpoint = kms.create("WebRtcEndpoint", map[string]any{"mediaPipeline": pipe})
	kms.onEvent = func(e testEvent) {
		if e.typ == "IceCandidateFound" {
			p.candidate(e)
		}
	}
	kms.subscribe(p.endpoint, endpointEvents...)
	p.join(kms, p.endpoint)
	time.Sleep(2 * time.Second)
	return pipe
}

// sendFrames sends so many pictures, 30 a second, of which every 30th is a key
// frame, and audio for as long.
func (p *testPeer) sendFrames(pictures int) (packets int) {
	for i := range pictures {
		must(p.t, p.video.WriteSample(media.Sample{Data: p.vp8Frame(i%30 == 0), Duration: time.Second / 30}))
		for ; packets*30 < (i+1)*50; packets++ {
			must(p.t, p.audio.WriteSample(media.Sample{Data: []byte{0xfc, 1, 2}, Duration: 20 * time.Millisecond}))
		}
		time.Sleep(time.Second / 30)
	}
	time.Sleep(time.Second)
	return packets
}

// A probed is what ffprobe says about a file.
type probed struct {
	Streams []struct {
		Codec   string `json:"codec_name"`
		Width   int    `json:"width"`
		Packets string `json:"nb_read_packets"`
	}
	Format struct {
		Name     string `json:"format_name"`
		Duration string `json:"duration"`
	}
}

// tool finds a program of ffmpeg, without which a test is skipped.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

func probe(t *testing.T, file string) (out probed) {
	t.Helper()
	b, err := exec.Command(tool(t, "ffprobe"), "-v", "error", "-count_packets", "-show_streams", "-show_format", "-of", "json", file).Output()
	if err != nil {
		t.Fatalf("ffprobe %s: %v", file, err)
	}
	must(t, json.Unmarshal(b, &out))
	return out
}

// holds checks codecs, number of frames and length of a file, the latter to
// two pictures.
func (p probed) holds(t *testing.T, length time.Duration, streams ...string) {
	t.Helper()
	var got []string
	for _, s := range p.Streams {
		got = append(got, s.Codec+" "+s.Packets)
	}
	if !slices.Equal(got, streams) {
		t.Errorf("streams %q, want %q", got, streams)
	}
	seconds, err := strconv.ParseFloat(p.Format.Duration, 64)
	must(t, err)
	if d := time.Duration(seconds * float64(time.Second)); (d - length).Abs() > 70*time.Millisecond {
		t.Errorf("duration %v, want %v", d, length)
	}
}

func TestRecorderWritesWhatWasSent(t *testing.T) {
	tool(t, "ffprobe")
	file := filepath.Join(t.TempDir(), "not", "there", "yet", "x.webm")
	audio := 0
	inBubble(t, 1, Config{}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		pipe := joined(kms, peers[0])
		r := newRecorder(kms, pipe, peers[0].endpoint, "file://"+file, nil)
		kms.invoke(r, "record", nil)
		audio = peers[0].sendFrames(150)
		kms.invoke(r, "stopAndWait", nil)
	})
	got := probe(t, file)
	got.holds(t, 5*time.Second, "vp8 150", "opus "+strconv.Itoa(audio))
	if got.Streams[0].Width != 64 || !strings.Contains(got.Format.Name, "webm") {
		t.Errorf("width %d, format %s", got.Streams[0].Width, got.Format.Name)
	}
}

// The events are those of transcript 12: START when all media have come, all of
// stopAndWait before its answer.
func TestRecorderEvents(t *testing.T) {
	dir := t.TempDir()
	inBubble(t, 1, Config{}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		pipe := joined(kms, peers[0])
		r := newRecorder(kms, pipe, peers[0].endpoint, "file://"+dir+"/x.webm", nil)
		play(peers, time.Second)
		expect := func(op, state string, events ...string) {
			t.Helper()
			before := len(eventsOf(kms, r))
			if op != "" {
				kms.invoke(r, op, nil)
			}
			if op != "stopAndWait" {
				time.Sleep(time.Second)
			}
			if got := eventsOf(kms, r)[before:]; !slices.Equal(got, events) {
				t.Errorf("%s: %q, want %q", op, got, events)
			}
			if got := kms.invoke(r, "getState", nil); got != state {
				t.Errorf("%s: state %v, want %s", op, got, state)
			}
		}
		expect("record", "START", "MediaFlowInStateChanged AUDIO FLOWING", "MediaFlowInStateChanged VIDEO FLOWING",
			"UriEndpointStateChanged START", "Recording")
		expect("record", "START")
		expect("pause", "PAUSE", "UriEndpointStateChanged PAUSE", "Paused")
		expect("pause", "PAUSE")
		expect("record", "START", "UriEndpointStateChanged START", "Recording")
		expect("stopAndWait", "STOP", "UriEndpointStateChanged STOP", "Stopped")
		expect("stop", "STOP")
		expect("record", "STOP")
		expect("pause", "STOP")
		expect("stopAndWait", "STOP")
		time.Sleep(5 * time.Second)
		if got := kms.invoke(r, "isMediaFlowingIn", map[string]any{"mediaType": "AUDIO"}); got != true {
			t.Errorf("flowing in: %v, want true as Kurento leaves it", got)
		}
		peers[0].pause()
	})
}

// A pause is cut out of the file, and video goes on with a key frame.
func TestRecorderCutsPauses(t *testing.T) {
	tool(t, "ffprobe")
	file := filepath.Join(t.TempDir(), "x.webm")
	inBubble(t, 1, Config{}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		pipe := joined(kms, peers[0])
		r := newRecorder(kms, pipe, peers[0].endpoint, "file://"+file, nil)
		kms.invoke(r, "record", nil)
		go peers[0].sendFrames(210)
		time.Sleep(2 * time.Second)
		kms.invoke(r, "pause", nil)
		time.Sleep(3 * time.Second)
		kms.invoke(r, "record", nil)
		time.Sleep(4 * time.Second)
		kms.invoke(r, "stopAndWait", nil)
	})
	got := probe(t, file)
	seconds, err := strconv.ParseFloat(got.Format.Duration, 64)
	must(t, err)
	if seconds < 3.9 || seconds > 4.1 {
		t.Errorf("duration %v, want 4 s: 7 s less the pause", seconds)
	}
	if n, _ := strconv.Atoi(got.Streams[0].Packets); n < 118 || n > 121 {
		t.Errorf("%d pictures, want those of 4 s", n)
	}
}

// Without one of its media a recorder never starts, and cannot be stopped.
func TestRecorderWaitsForAllMedia(t *testing.T) {
	dir := t.TempDir()
	inBubble(t, 1, Config{}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		pipe := joined(kms, peers[0])
		r := newRecorder(kms, pipe, "", "file://"+dir+"/x.webm", nil)
		only := newRecorder(kms, pipe, "", "file://"+dir+"/only.webm", map[string]any{"mediaProfile": "WEBM_AUDIO_ONLY"})
		for _, sink := range []string{r, only} {
			kms.invoke(peers[0].endpoint, "connect", map[string]any{"sink": sink, "mediaType": "AUDIO"})
			kms.invoke(sink, "record", nil)
		}
		peers[0].sendFrames(60)
		for _, sink := range []string{r, only} {
			kms.invoke(sink, "stopAndWait", nil)
		}
		if got := eventsOf(kms, r); !slices.Equal(got, []string{"MediaFlowInStateChanged AUDIO FLOWING", "MediaFlowInStateChanged AUDIO NOT_FLOWING"}) && len(got) != 1 {
			t.Errorf("without video: %q", got)
		}
		if got := eventsOf(kms, only); !slices.Contains(got, "Stopped") || !slices.Contains(got, "Recording") {
			t.Errorf("audio only: %q", got)
		}
	})
	if info, err := os.Stat(filepath.Join(dir, "x.webm")); err != nil || info.Size() != 0 {
		t.Errorf("file without video: %v %v", info, err)
	}
}

// Released while it records, alone or with its pipeline, a recorder leaves a
// complete file.
func TestRecorderReleasedWhileRecording(t *testing.T) {
	tool(t, "ffprobe")
	dir := t.TempDir()
	inBubble(t, 1, Config{}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		pipe := joined(kms, peers[0])
		a := newRecorder(kms, pipe, peers[0].endpoint, "file://"+dir+"/a.webm", nil)
		b := newRecorder(kms, pipe, peers[0].endpoint, "file://"+dir+"/b.mkv", map[string]any{"mediaProfile": "MKV"})
		kms.invoke(a, "record", nil)
		kms.invoke(b, "record", nil)
		peers[0].sendFrames(90)
		kms.value("release", map[string]any{"object": a})
		kms.value("release", map[string]any{"object": pipe})
		time.Sleep(time.Second)
	})
	for _, name := range []string{"a.webm", "b.mkv"} {
		probe(t, filepath.Join(dir, name)).holds(t, 3*time.Second, "vp8 90", "opus 150")
	}
}

func TestRecorderReportsFailures(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/file", nil, 0o600))
	failing := func(step recordingStep, err error) *recordingFault {
		f := recordingFault(func(at recordingStep) error {
			if at == step {
				return err
			}
			return nil
		})
		return &f
	}
	must(t, syscall.Mkfifo(dir+"/fifo", 0o600))
	open := []string{"RESOURCE_ERROR_OPEN 6", "UNEXPECTED_ELEMENT_ERROR 4"}
	for _, c := range []struct {
		name, uri, state string
		fault            *recordingFault
		errors           []string
	}{
		{"below a file", "file://" + dir + "/file/x.webm", "STOP", nil, open},
		{"a FIFO", "file://" + dir + "/fifo", "STOP", nil, open},
		{"a device", "file:///dev/null", "START", nil, nil},
		{"a folder", "file://" + dir, "STOP", nil, open},
		{"no name", "file://", "STOP", nil, []string{"UNEXPECTED_ELEMENT_ERROR 3", "UNEXPECTED_ELEMENT_ERROR 4"}},
		{"open fails", "file://" + dir + "/x.webm", "STOP", failing(stepOpen, syscall.EACCES), open},
		{"disk full", "file://" + dir + "/y.webm", "START", failing(stepWrite, syscall.ENOSPC),
			slices.Repeat([]string{"RESOURCE_ERROR_NO_SPACE_LEFT 14", "UNEXPECTED_ELEMENT_ERROR 11"}, 4)},
		{"write fails", "file://" + dir + "/z.webm", "START", failing(stepWrite, syscall.EIO), []string{"RESOURCE_ERROR_WRITE 10"}},
		{"upload", "http://127.0.0.1:1/x.webm", "START", nil, []string{"RESOURCE_ERROR_WRITE 10", "STREAM_ERROR_FAILED 1", "STREAM_ERROR_FAILED 1"}},
		{"camera", "rtsp://127.0.0.1:1/x", "STOP", nil, nil},
		{"no such scheme", "foo://x", "START", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, 1, Config{}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
				s.recordingFault.Store(c.fault)
				pipe := joined(kms, peers[0])
				r := newRecorder(kms, pipe, peers[0].endpoint, c.uri, nil)
				kms.invoke(r, "record", nil)
				peers[0].sendFrames(30)
				if got := kms.invoke(r, "getState", nil); got != c.state {
					t.Errorf("state %v, want %s", got, c.state)
				}
				kms.invoke(r, "stopAndWait", nil)
				time.Sleep(time.Second)
				if got := errorsOf(kms, r); !slices.Equal(got, c.errors) {
					t.Errorf("errors %q, want %q", got, c.errors)
				}
			})
		})
	}
}

// errorsOf lists type and code of an object's Error events.
func errorsOf(kms *testClient, object string) []string {
	var out []string
	for _, e := range kms.seen() {
		if e.object == object && e.typ == "Error" {
			out = append(out, e.data["type"].(string)+" "+strconv.Itoa(int(e.data["errorCode"].(float64))))
		}
	}
	return out
}

func TestFileRootConfines(t *testing.T) {
	root := t.TempDir()
	s, l := startMock(t, Config{Timing: Fast, FileRoot: root})
	kms := dialTest(t, l)
	defer kms.close()
	pipe := kms.create("MediaPipeline", nil)
	for uri, want := range map[string]string{
		"file:///recordings/x.webm":  "recordings/x.webm",
		"file:///../../etc/x.webm":   "etc/x.webm",
		"file:///a%20b%2Fx.webm":     "a b/x.webm",
		"plain.webm":                 "var/lib/kurento/plain.webm",
		"file:///%2E%2E/up/x.webm":   "up/x.webm",
		"file:///recordings//y.webm": "recordings/y.webm",
	} {
		r := newRecorder(kms, pipe, "", uri, nil)
		kms.invoke(r, "record", nil)
		if _, err := os.Stat(filepath.Join(root, want)); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
		if got, want := kms.invoke(r, "getUri", nil), strings.ReplaceAll(uri, "%2F", "/"); got != want {
			t.Errorf("getUri %v, want %s", got, want)
		}
	}
	must(t, s.Close())
}

func TestRecorderProfiles(t *testing.T) {
	_, l := startMock(t, Config{Timing: Fast})
	kms := dialTest(t, l)
	defer kms.close()
	pipe := kms.create("MediaPipeline", nil)
	args := map[string]any{"mediaPipeline": pipe, "uri": "file:///x", "mediaProfile": "KURENTO_SPLIT_RECORDER"}
	code, text := kms.fails("create", map[string]any{"type": "RecorderEndpoint", "constructorParams": args})
	if code != 40107 || text != "Kurento Split Recorder not supported" {
		t.Errorf("split recorder: %d %s", code, text)
	}
	for name := range profiles {
		args["mediaProfile"] = name
		kms.create("RecorderEndpoint", args)
	}
}
