package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// lostCall fails: Bob cannot learn that the call has ended.
const lostCall = `# Bob's network is cut, and Alice does not wait for him.
need    media
clients alice=electron bob=react-native
alice   call bob
expect  bob incoming from=alice
bob     accept
expect  alice,bob media audio,video as setup
at 10s  net bob cut
alice   hangup
expect  bob ended reason=hangup within=5s
expect  clean
`

// chromium starts a browser and gives its first tab.
func chromium(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes seconds")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium: ", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	return tab(t, ctx)
}

// tab opens a tab, in a browser that it starts if need be.
func tab(t *testing.T, browser context.Context) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	if err := chromedp.Listen(ctx, func(any) {}); err != nil { // it begins with the first use
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// browser starts a Chromium, with a tab that notes what it should not do.
func browser(t *testing.T) (context.Context, *complaints) {
	t.Helper()
	ctx := chromium(t)
	c := &complaints{}
	if err := chromedp.Listen(ctx, c.hear); err != nil {
		t.Fatal(err)
	}
	call(t, ctx, network.Enable, network.EnableParams{})
	call(t, ctx, log.Enable, cdp.Empty{})
	call(t, ctx, runtime.Enable, cdp.Empty{})
	return ctx, c
}

func call[P, R any](t *testing.T, ctx context.Context, cmd cdp.Command[P, R], params P) {
	t.Helper()
	if _, err := chromedp.Call(ctx, cmd, params); err != nil {
		t.Fatalf("%s: %v", cmd.Method, err)
	}
}

// run does what gives a value in the page.
func run[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// complaints are what a page that is in order does not cause.
type complaints struct {
	mu  sync.Mutex
	all []string
}

func (c *complaints) hear(ev any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		if u := ev.Request.URL; !strings.HasPrefix(u, "data:") && !strings.HasSuffix(u, "/report.html") {
			c.all = append(c.all, "request for "+u)
		}
	case *runtime.EventConsoleAPICalled:
		c.all = append(c.all, "console."+ev.Type.String())
	case *runtime.EventExceptionThrown:
		c.all = append(c.all, ev.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		c.all = append(c.all, ev.Entry.Text)
	}
}

func (c *complaints) list() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

// failedAndPassed plays a scenario that fails and one that passes.
func failedAndPassed(t *testing.T) (page string) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("lost.call", []byte(lostCall), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "report")
	if code := Main(context.Background(), []string{"run", "-o", out, "reconnect", "lost.call"}, io.Discard, io.Discard); code != exitFail {
		t.Fatalf("exit code %d, want %d", code, exitFail)
	}
	return "file://" + filepath.Join(out, "report.html")
}

// The report is what people open first: it must be readable wherever they do.
func TestBrowserReport(t *testing.T) {
	ctx, heard := browser(t)
	page := failedAndPassed(t)
	artifacts := t.ArtifactDir()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 800, 390} {
			name := fmt.Sprintf("%s-%d", scheme, width)
			t.Run(name, func(t *testing.T) {
				call(t, ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 800, DeviceScaleFactor: 1, Mobile: width < 600})
				call(t, ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
				run(t, ctx, chromedp.Navigate(page))
				look := run(t, ctx, chromedp.Evaluate[report](lookAround))
				shot := run(t, ctx, chromedp.FullScreenshot(100))
				if err := os.WriteFile(filepath.Join(artifacts, "report-"+name+".png"), shot, 0o644); err != nil {
					t.Error(err)
				}
				look.check(t, scheme)
			})
		}
	}
	if list := heard.list(); len(list) > 0 {
		t.Errorf("the page is not content with itself:\n%s", strings.Join(list, "\n"))
	}
}

// report is what lookAround finds.
type report struct {
	Verdict     string // text of the first heading
	Seen        bool   // without scrolling
	Overflow    float64
	Diagrams    int
	Waterfalls  int
	OpenAtFirst []string
	Faint       []string // texts whose contrast is too low
	Background  float64  // luminance
	Narrowest   float64  // of the bars of the waterfalls
}

func (r report) check(t *testing.T, scheme string) {
	t.Helper()
	if !strings.HasPrefix(r.Verdict, `Failed lost.call:10: "expect  bob ended reason=hangup within=5s": not within 5s; bob lacks ended`) || !r.Seen {
		t.Errorf("the first line is %q, in view: %v", r.Verdict, r.Seen)
	}
	if r.Overflow > 0 {
		t.Errorf("the page is %v pixels wider than the window", r.Overflow)
	}
	if r.Diagrams != 2 || r.Waterfalls < 2 || r.Narrowest <= 0 {
		t.Errorf("%d sequence diagrams, %d waterfalls, narrowest bar %v", r.Diagrams, r.Waterfalls, r.Narrowest)
	}
	if len(r.OpenAtFirst) != 1 || r.OpenAtFirst[0] != "lost" {
		t.Errorf("open at first: %q", r.OpenAtFirst)
	}
	for _, text := range r.Faint {
		t.Errorf("too faint: %s", text)
	}
	if dark := r.Background < 0.2; dark != (scheme == "dark") {
		t.Errorf("the background's luminance is %v", r.Background)
	}
}

// lookAround measures the page: first as it opens, then with all unfolded. The
// contrast is that of WCAG 2.2, whose limit for text is 4.5, for large text 3.
const lookAround = `(() => {
  const h1 = document.querySelector("h1"), box = h1.getBoundingClientRect();
  const r = {Verdict: h1.textContent, Seen: box.top >= 0 && box.bottom <= innerHeight, Faint: []};
  r.OpenAtFirst = [...document.querySelectorAll("details.chapter[open] h2")].map(h => h.textContent);
  for (const d of document.querySelectorAll("details")) d.open = true;
  r.Overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  r.Diagrams = [...document.querySelectorAll("svg.sequence")].filter(s => s.getBoundingClientRect().height > 200).length;
  r.Waterfalls = document.querySelectorAll("table.waterfall").length;
  r.Narrowest = Math.min(...[...document.querySelectorAll("rect.bar")].map(b => b.getBoundingClientRect().width));
  const rgb = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length > 3 && m[3] === 0 ? null : m; };
  const lum = c => { const [x, y, z] = c.slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * x + 0.7152 * y + 0.0722 * z; };
  const behind = e => {
    const rect = e.tagName === "text" && e.parentElement.querySelector(":scope > rect");
    if (rect && !e.classList.contains("time")) return rgb(getComputedStyle(rect).fill);
    for (let p = e; p; p = p.parentElement) { const c = rgb(getComputedStyle(p).backgroundColor); if (c) return c; }
    return [255, 255, 255];
  };
  r.Background = lum(behind(document.querySelector("main")));
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.getClientRects().length || e.closest("title,script,style,.unseen")) continue;
    const s = getComputedStyle(e), svg = e instanceof SVGElement, at = svg ? e.closest("text") : e;
    const a = lum(rgb(svg ? s.fill : s.color)), b = lum(behind(at)), size = parseFloat(s.fontSize);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < (size >= 24 || size >= 18.66 && s.fontWeight >= 700 ? 3 : 4.5)) r.Faint.push(ratio.toFixed(2) + " " + e.textContent.slice(0, 60));
  }
  return r;
})()`

// On paper nothing can be unfolded or scrolled.
func TestBrowserReportOnPaper(t *testing.T) {
	ctx, _ := browser(t)
	page := failedAndPassed(t)
	call(t, ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print", Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}})
	call(t, ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 720, Height: 1000, DeviceScaleFactor: 1})
	run(t, ctx, chromedp.Navigate(page))
	if white := run(t, ctx, chromedp.Evaluate[string](`getComputedStyle(document.body).backgroundColor`)); white != "rgb(255, 255, 255)" {
		t.Errorf("the paper is %s", white)
	}
	drawings := run(t, ctx, chromedp.Evaluate[[]float64](`[...document.querySelectorAll("svg.sequence")].map(s => s.getBoundingClientRect()).map(b => b.height && b.right)`))
	if len(drawings) != 2 {
		t.Fatalf("%d drawings", len(drawings))
	}
	for _, right := range drawings {
		if right <= 0 || right > 720 {
			t.Errorf("the right edge of a drawing is at %v of 720", right)
		}
	}
	if buttons := run(t, ctx, chromedp.Evaluate[int](`[...document.querySelectorAll("button")].filter(b => b.getClientRects().length).length`)); buttons > 0 {
		t.Errorf("%d buttons are printed", buttons)
	}
}

// Everything can be reached and unfolded with the keyboard, and the commands
// can be copied.
func TestBrowserReportByKeyboard(t *testing.T) {
	ctx, heard := browser(t)
	page := failedAndPassed(t)
	open := `document.querySelector("details.chapter.pass").open`
	run(t, ctx, chromedp.Navigate(page))
	before := run(t, ctx, chromedp.Evaluate[bool](open))
	run(t, ctx, chromedp.Focus(chromedp.CSS("details.chapter.pass > summary")))
	run(t, ctx, chromedp.KeyEvent(kb.Enter))
	after := run(t, ctx, chromedp.Evaluate[bool](open))
	run(t, ctx, chromedp.KeyEvent(kb.Enter))
	run(t, ctx, chromedp.Focus(chromedp.CSS("nav li.pass a")))
	run(t, ctx, chromedp.KeyEvent(kb.Enter))
	linked := run(t, ctx, chromedp.Poll[bool](open))
	command := run(t, ctx, chromedp.Evaluate[string](`document.querySelector("button[data-copy]").click(); document.querySelector(".command code").textContent`))
	run(t, ctx, chromedp.Poll[bool](`[...document.querySelectorAll("button")].some(b => b.textContent === "Copied")`))
	if before || !after || !linked {
		t.Errorf("the passed scenario was open: at first %v, after Enter %v, behind its link %v", before, after, linked)
	}
	if command != "callbench run lost.call -world virtual -seed 1" {
		t.Errorf("the command is %q", command)
	}
	if list := heard.list(); len(list) > 0 {
		t.Errorf("the page is not content with itself:\n%s", strings.Join(list, "\n"))
	}
}
