package kmsmock

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/callbench/callbench/kmsmock/clip"
)

var playerEvents = []string{"UriEndpointStateChanged", "EndOfStream", "Error", "MediaFlowOutStateChanged", "MediaTranscodingStateChanged"}

func newPlayer(kms *testClient, pipe, sink, uri string, encoded bool) string {
	p := kms.create("PlayerEndpoint", map[string]any{"mediaPipeline": pipe, "uri": uri, "useEncodedMedia": encoded})
	kms.subscribe(p, playerEvents...)
	if sink != "" {
		kms.invoke(p, "connect", map[string]any{"sink": sink})
	}
	return p
}

// testClip writes a clip with so many pictures, 30 a second, and audio for as
// long. The last byte of each frame is the name that testPeer counts by.
func testClip(t *testing.T, pictures int) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "clip.webm")
	f, err := os.Create(path)
	must(t, err)
	p := &testPeer{name: "F"}
	tracks := []clip.Track{{Codec: clip.VP8, Width: 64, Height: 64}, {Codec: clip.Opus, Channels: 2}}
	w, err := clip.NewWriter(f, clip.WebM, tracks, [][]byte{nil, nil})
	must(t, err)
	audio := 0
	for i := range pictures {
		at := time.Duration(i) * time.Second / 30
		must(t, w.Write(clip.Frame{At: at, Key: i%30 == 0, Data: p.vp8Frame(i%30 == 0)}))
		for ; audio*30 < (i+1)*50; audio++ {
			must(t, w.Write(clip.Frame{Track: 1, At: time.Duration(audio) * 20 * time.Millisecond, Key: true, Data: []byte{0xfc, 1, 'F'}}))
		}
	}
	must(t, w.Close())
	return path
}

func TestPlayerPlaysToAPeer(t *testing.T) {
	file := testClip(t, 90)
	inBubble(t, 1, Config{}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		pipe := joined(kms, peers[0])
		p := newPlayer(kms, pipe, peers[0].endpoint, "file://"+file, false)
		began := time.Now()
		kms.invoke(p, "play", nil)
		time.Sleep(time.Second)
		if at := kms.invoke(p, "getPosition", nil).(float64); at < 970 || at > 1010 {
			t.Errorf("position %v ms after a second", at)
		}
		info := kms.invoke(p, "getVideoInfo", nil).(map[string]any)
		if info["isSeekable"] != true || info["duration"].(float64) < 2950 || info["duration"] != info["seekableEnd"] {
			t.Errorf("video info %v", info)
		}
		time.Sleep(6 * time.Second)
		if v, a := peers[0].got("video:F"), peers[0].got("audio:F"); v != 90 || a != 150 {
			t.Errorf("peer got %d pictures and %d packets of audio, want 90 and 150", v, a)
		}
		want := []string{"UriEndpointStateChanged START",
			"MediaTranscodingStateChanged VIDEO TRANSCODING", "MediaFlowOutStateChanged VIDEO FLOWING",
			"MediaTranscodingStateChanged AUDIO TRANSCODING", "MediaFlowOutStateChanged AUDIO FLOWING",
			"UriEndpointStateChanged STOP", "EndOfStream",
			"MediaFlowOutStateChanged VIDEO NOT_FLOWING", "MediaFlowOutStateChanged AUDIO NOT_FLOWING"}
		if got := eventsOf(kms, p); !sameSet(got, want) || got[0] != want[0] || got[6] != want[6] {
			t.Errorf("events %q, want %q", got, want)
		}
		for _, e := range kms.seen() {
			if d := e.at.Sub(began); e.typ == "EndOfStream" && (d < 2950*time.Millisecond || d > 3100*time.Millisecond) {
				t.Errorf("a clip of 3 s ended after %v", d)
			}
		}
		if kms.invoke(p, "getState", nil) != "STOP" || kms.invoke(p, "getPosition", nil) != 0.0 {
			t.Error("state or position at the end")
		}
		kms.invoke(p, "play", nil)
		time.Sleep(5 * time.Second)
		if n := peers[0].got("video:F"); n != 180 {
			t.Errorf("%d pictures after playing twice, want 180", n)
		}
	})
}

// A frame that no datagram holds is left out; what comes behind it is played.
func TestPlayerLeavesOutAudioThatIsTooLong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "long.webm")
	f, err := os.Create(file)
	must(t, err)
	w, err := clip.NewWriter(f, clip.WebM, []clip.Track{{Codec: clip.Opus, Channels: 2}}, [][]byte{nil})
	must(t, err)
	for i := range 10 {
		frame := []byte{0xfc, 1, 'F'}
		if i == 5 {
			frame = make([]byte, maxDatagram)
		}
		must(t, w.Write(clip.Frame{At: time.Duration(i) * 20 * time.Millisecond, Key: true, Data: frame}))
	}
	must(t, w.Close())
	inBubble(t, 1, Config{}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		p := newPlayer(kms, joined(kms, peers[0]), peers[0].endpoint, "file://"+file, true)
		kms.invoke(p, "play", nil)
		time.Sleep(time.Second)
		if n := peers[0].got("audio:F"); n != 9 {
			t.Errorf("peer got %d packets, want the 9 that fit", n)
		}
	})
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// As it was recorded, a player that was paused reports errors and plays no
// more; with ResumablePlayer it goes on where it was.
func TestPlayerPause(t *testing.T) {
	file := testClip(t, 120)
	for _, resumable := range []bool{false, true} {
		inBubble(t, 1, Config{ResumablePlayer: resumable}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
			pipe := joined(kms, peers[0])
			p := newPlayer(kms, pipe, peers[0].endpoint, "file://"+file, true)
			kms.invoke(p, "play", nil)
			time.Sleep(1500 * time.Millisecond)
			kms.invoke(p, "pause", nil)
			time.Sleep(3 * time.Second)
			if at := kms.invoke(p, "getPosition", nil).(float64); at < 1470 || at > 1510 {
				t.Errorf("position %v ms in the pause", at)
			}
			kms.invoke(p, "play", nil)
			time.Sleep(3 * time.Second)
			errors, state := errorsOf(kms, p), kms.invoke(p, "getState", nil)
			pictures := peers[0].got("video:F")
			if resumable && (len(errors) != 0 || state != "STOP" || pictures < 120 || pictures > 136) {
				t.Errorf("errors %q, state %v, %d pictures; want none, STOP and the 120 of the file with those from the last key frame on twice", errors, state, pictures)
			}
			if !resumable && (len(errors) != 1 || state != "START" || pictures > 60) {
				t.Errorf("errors %q, state %v, %d pictures; want 1, START and those before the pause", errors, state, pictures)
			}
		})
	}
}

func TestPlayerSeeks(t *testing.T) {
	file := testClip(t, 300)
	inBubble(t, 1, Config{ResumablePlayer: true}, func(t *testing.T, s *Server, kms *testClient, peers []*testPeer) {
		pipe := joined(kms, peers[0])
		p := newPlayer(kms, pipe, peers[0].endpoint, "file://"+file, true)
		seek := map[string]any{"object": p, "operation": "setPosition", "operationParams": map[string]any{"position": 8000}}
		if code, text := kms.fails("invoke", seek); code != 40700 || text != "Seek fails" {
			t.Errorf("before play: %d %s", code, text)
		}
		kms.invoke(p, "play", nil)
		time.Sleep(time.Second)
		kms.value("invoke", seek)
		time.Sleep(2500 * time.Millisecond)
		if got := eventsOf(kms, p); !slices.Contains(got, "EndOfStream") {
			t.Errorf("not at the end 2 s behind 8 s of 10: %q", got)
		}
		if n := peers[0].got("video:F"); n < 85 || n > 95 {
			t.Errorf("%d pictures, want those of the first and the last two seconds", n)
		}
	})
}

func TestPlayerErrors(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"text": "hello\nworld\n", "garbage": "\x01\xff\xfe\x00\x80", "empty": "", "broken": "\x1a\x45\xdf\xa3\x84nothing"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	must(t, syscall.Mkfifo(dir+"/fifo", 0o600))
	invalid := []string{"INVALID_URI 0", "INVALID_URI 0", "INVALID_URI 0", "INVALID_URI 0"}
	media := []string{"INVALID_MEDIA 0", "STREAM_ERROR_FAILED 1"}
	unknown := []string{"UNEXPECTED_ELEMENT_ERROR 4", "STREAM_ERROR_FAILED 1"}
	for uri, want := range map[string][]string{
		"file:///none.webm": invalid, "bogus": invalid, "file://" + dir: invalid, "file://" + dir + "/fifo": invalid, "": invalid,
		"file://" + dir + "/text": media, "file://" + dir + "/broken": media,
		"file://" + dir + "/garbage": unknown, "file://" + dir + "/empty": unknown,
		"rtsp://127.0.0.1:1/x": {"INVALID_URI 0"}, "foo://x": {"UNEXPECTED_ELEMENT_ERROR 12"},
	} {
		inBubble(t, 0, Config{}, func(t *testing.T, s *Server, kms *testClient, _ []*testPeer) {
			p := newPlayer(kms, kms.create("MediaPipeline", nil), "", uri, false)
			kms.invoke(p, "play", nil)
			time.Sleep(time.Second)
			if got := errorsOf(kms, p); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", uri, got, want)
			}
			if got := kms.invoke(p, "getState", nil); got != "START" {
				t.Errorf("%s: state %v", uri, got)
			}
			kms.invoke(p, "stop", nil)
			if got := kms.invoke(p, "getState", nil); got != "STOP" {
				t.Errorf("%s: state %v after stop", uri, got)
			}
		})
	}
}

func TestPlayerFetchesFromTheWeb(t *testing.T) {
	file := testClip(t, 10)
	web := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(file))))
	defer web.Close()
	_, l := startMock(t, Config{Timing: Fast})
	kms := dialTest(t, l)
	defer kms.close()
	seen := make(chan testEvent, 64)
	kms.onEvent = func(e testEvent) { seen <- e }
	pipe := kms.create("MediaPipeline", nil)
	for name, want := range map[string][]string{
		"clip.webm": {"EndOfStream"},
		"none.webm": {"INVALID_URI 0", "INVALID_URI 0", "UNEXPECTED_ELEMENT_ERROR 4"},
	} {
		p := kms.create("PlayerEndpoint", map[string]any{"mediaPipeline": pipe, "uri": web.URL + "/" + name})
		kms.subscribe(p, "EndOfStream", "Error")
		kms.invoke(p, "play", nil)
		for range want {
			<-seen
		}
		got := errorsOf(kms, p)
		if want[0] == "EndOfStream" {
			got = eventsOf(kms, p)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// A server that sends half a file and then no more learns that nobody waits.
func TestPlayerThatEndsFetchesNoMore(t *testing.T) {
	for name, end := range map[string]func(kms *testClient, s *Server, player string){
		"stop": func(kms *testClient, _ *Server, player string) { kms.invoke(player, "stop", nil) },
		"release": func(kms *testClient, _ *Server, player string) {
			kms.value("release", map[string]any{"object": player})
		},
		"kill": func(_ *testClient, s *Server, _ string) { s.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			asked, gone := make(chan struct{}), make(chan struct{})
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "1000")
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
				close(asked)
				<-r.Context().Done()
				close(gone)
			}))
			defer web.Close()
			defer web.CloseClientConnections()
			s, l := startMock(t, Config{Timing: Fast})
			kms := dialTest(t, l)
			defer kms.close()
			p := newPlayer(kms, kms.create("MediaPipeline", nil), "", web.URL+"/clip.webm", false)
			kms.invoke(p, "play", nil)
			<-asked
			end(kms, s, p)
			promptly(t, "the player still fetches", func() { <-gone })
		})
	}
}

// Real frames, through a player into a recorder: ffmpeg decodes each of them
// in what was written.
func TestRecordedClipDecodes(t *testing.T) {
	ffmpeg := tool(t, "ffmpeg")
	for name, encoder := range map[string]string{"VP8": "libvpx", "VP9": "libvpx-vp9", "H264": "libx264"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			in, out := dir+"/in.mkv", dir+"/out.webm"
			if b, err := exec.Command(ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=30", "-f", "lavfi", "-i", "sine", "-t", "2",
				"-pix_fmt", "yuv420p", "-c:v", encoder, "-bf", "0", "-g", "30", "-c:a", "libopus", in).CombinedOutput(); err != nil {
				t.Skipf("ffmpeg cannot encode %s: %s", name, b)
			}
			inBubble(t, 0, Config{}, func(t *testing.T, s *Server, kms *testClient, _ []*testPeer) {
				pipe := kms.create("MediaPipeline", nil)
				r := newRecorder(kms, pipe, "", "file://"+out, nil)
				p := newPlayer(kms, pipe, r, "file://"+in, true)
				kms.invoke(r, "record", nil)
				kms.invoke(p, "play", nil)
				time.Sleep(4 * time.Second)
				kms.invoke(r, "stopAndWait", nil)
			})
			want := probe(t, in)
			probe(t, out).holds(t, 2*time.Second, strings.ToLower(name)+" 60", "opus "+want.Streams[1].Packets)
			b, err := exec.Command(tool(t, "ffprobe"), "-v", "error", "-count_frames", "-select_streams", "v", "-show_entries",
				"stream=nb_read_frames", "-of", "csv=p=0", out).CombinedOutput()
			if got := strings.TrimSpace(string(b)); err != nil || got != strconv.Itoa(60) {
				t.Errorf("ffmpeg decodes %q pictures of 60: %v", got, err)
			}
		})
	}
}
