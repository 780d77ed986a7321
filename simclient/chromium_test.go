package simclient

import (
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
)

var update = flag.Bool("update", false, "write what is recorded to testdata")

// pages are the recordings of testdata/chromium. script makes a PeerConnection
// as an app does and returns it; restart answers it and calls restartIce.
var pages = []struct {
	name, what, script string
	asks, restart      bool // asks: the user has to be asked for the camera, and is not
}{
	{name: "audio_video", what: "getUserMedia for both, addTrack for audio, then for video",
		script: `const s = await navigator.mediaDevices.getUserMedia({audio: true, video: true});
			s.getAudioTracks().concat(s.getVideoTracks()).forEach(t => pc.addTrack(t, s));`},
	{name: "audio_only", what: "getUserMedia for audio, addTrack",
		script: `const s = await navigator.mediaDevices.getUserMedia({audio: true});
			s.getTracks().forEach(t => pc.addTrack(t, s));`},
	{name: "video_first", what: "getUserMedia for both, addTrack for video, then for audio",
		script: `const s = await navigator.mediaDevices.getUserMedia({audio: true, video: true});
			s.getVideoTracks().concat(s.getAudioTracks()).forEach(t => pc.addTrack(t, s));`},
	{name: "recvonly_mdns", what: "two recvonly transceivers, no permission for camera and microphone", asks: true,
		script: `pc.addTransceiver('audio', {direction: 'recvonly'}); pc.addTransceiver('video', {direction: 'recvonly'});`},
	{name: "restart_ice", what: "as audio_video, answered by another PeerConnection, then restartIce and createOffer", restart: true,
		script: `const s = await navigator.mediaDevices.getUserMedia({audio: true, video: true});
			s.getAudioTracks().concat(s.getVideoTracks()).forEach(t => pc.addTrack(t, s));`},
}

// record is what every page does around its script.
const record = `(async (restart) => {
	const pc = new RTCPeerConnection(), out = {gathered: {candidates: []}, userAgent: navigator.userAgent};
	const done = new Promise(r => pc.onicecandidate = e => {
		out.gathered.candidates.push(e.candidate && e.candidate.toJSON());
		if (!e.candidate) r();
	});
	SCRIPT
	const offer = await pc.createOffer();
	out.offer = offer.sdp;
	await pc.setLocalDescription(offer);
	await done;
	if (restart) {
		const peer = new RTCPeerConnection();
		await peer.setRemoteDescription(pc.localDescription);
		await peer.setLocalDescription(await peer.createAnswer());
		await pc.setRemoteDescription(peer.localDescription);
		pc.restartIce();
		out.restart = (await pc.createOffer()).sdp;
		peer.close();
	}
	pc.close();
	return JSON.stringify(out);
})(RESTART)`

// TestBrowserOffers records the offers of the installed Chromium again and
// compares them with the kept ones, chance taken out. Another version than the
// recorded one may differ; then only what the profile depends on is compared,
// and the differences are logged.
func TestBrowserOffers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	path := chromium()
	if path == "" {
		t.Skip("no chromium: there is no executable of that name on the path")
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<!doctype html>")) }))
	defer web.Close()
	for _, asks := range []bool{false, true} {
		tab := startChromium(t, path, asks)
		for _, p := range pages {
			if p.asks != asks {
				continue
			}
			r := &recording{Page: p.what}
			visit(t, tab, web.URL, p.script, p.restart, r)
			if *update {
				r.write(t, p.name)
			}
			t.Run(p.name, func(t *testing.T) { compareRecordings(t, readRecording(t, p.name), r) })
		}
	}
}

func chromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// startChromium starts a headless browser with a camera and a microphone that
// are not there. Unless the user has to be asked for them, pages may use them.
func startChromium(t *testing.T, path string, asks bool) context.Context {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("use-fake-ui-for-media-stream", !asks))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // t.Context ends before the cleanup
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		chromedp.Cancel(ctx) // waits for the browser, whose directory goes away next
		cancel()
	})
	return ctx
}

// visit runs a page's script and fills in what it saw.
func visit(t *testing.T, tab context.Context, url, script string, restart bool, r *recording) {
	t.Helper()
	flag := "false"
	if restart {
		flag = "true"
	}
	js := strings.NewReplacer("SCRIPT", script, "RESTART", flag).Replace(record)
	if err := chromedp.Do(tab, chromedp.Navigate(url)); err != nil {
		t.Fatalf("%s: %v", r.Page, err)
	}
	out, err := chromedp.Run(tab, chromedp.Evaluate[string](js, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", r.Page, err)
	}
	version, err := chromedp.Run(tab, func(ctx context.Context, tab *chromedp.Target) (browser.GetVersionResult, error) {
		return cdp.Call(ctx, tab, browser.GetVersion, cdp.Empty{})
	})
	if err != nil {
		t.Fatalf("%s: %v", r.Page, err)
	}
	r.Version = version.Product
	if err := json.Unmarshal([]byte(out), r); err != nil {
		t.Fatalf("%s: %v", r.Page, err)
	}
}

// compareRecordings fails when what Chromium does now is not what it did, and
// names the lines.
func compareRecordings(t *testing.T, kept, fresh *recording) {
	t.Helper()
	if slices.Equal(newNormalizer().candidates(fresh.Gathered.Candidates), []string{"end"}) {
		t.Log("candidates are not compared: this machine has no IPv4 network")
		kept.Gathered.Candidates, fresh.Gathered.Candidates = nil, nil
	}
	diffs := differ(kept.lines(), fresh.lines())
	if kept.Version == fresh.Version {
		for _, d := range diffs {
			t.Errorf("%s does not do as recorded: %s", fresh.Version, d)
		}
		return
	}
	for _, d := range diffs {
		t.Logf("%s differs from %s: %s", fresh.Version, kept.Version, d)
	}
	for _, line := range kept.lines() {
		if lasting(line) && !slices.Contains(fresh.lines(), line) {
			t.Errorf("%s has no %q, on which the profile depends", fresh.Version, line)
		}
	}
}

// lines are a recording without chance.
func (r *recording) lines() []string {
	n := newNormalizer()
	lines := append(n.offer(r.Offer), n.candidates(r.Gathered.Candidates)...)
	if r.Restart != "" {
		lines = append(lines, n.offer(r.Restart)...)
	}
	return lines
}

// lasting tells whether a line is of those that no version of Chromium may be
// without: what a server has to cope with for ever, as payload types and the
// list of codecs are not.
func lasting(line string) bool {
	for _, prefix := range []string{"a=group:", "a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=ice-options:", "a=fingerprint:", "a=setup:",
		"a=rtcp-mux", "a=sendrecv", "a=recvonly", "a=rtpmap:111 opus/", "a=rtpmap:96 VP8/", "candidate:", "sdpMid ", "usernameFragment "} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}
