package chromium

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
)

// closeLimit is how long a tab, or the browser, may take to close.
const closeLimit = 10 * time.Second

// Find returns the path of the Chromium to be used: of the names that it has, the
// first one on the path.
func Find() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no Chromium on the path")
}

// Browser is one Chromium. Each client has a tab of its own in it, with a profile
// of its own.
type Browser struct {
	ctx     context.Context
	cancel  context.CancelFunc
	dir     string // of the profile
	pages   *pages
	version string
}

// Start starts a headless Chromium. It ends with Close, and also when this process
// ends, however that does.
func Start() (*Browser, error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "callbench-chromium-")
	if err != nil {
		return nil, fmt.Errorf("make Chromium's profile: %w", err)
	}
	b := &Browser{dir: dir}
	if err := b.start(path); err != nil {
		return nil, errors.Join(fmt.Errorf("start Chromium: %w", err), b.Close())
	}
	return b, nil
}

func (b *Browser) start(path string) (err error) {
	if b.pages, err = newPages(); err != nil {
		return err
	}
	ctx, release := chromedp.NewExecAllocator(context.Background(), b.options(path)...)
	b.ctx, b.cancel = chromedp.NewContext(ctx)
	closeTab := b.cancel
	b.cancel = func() { closeTab(); release() }
	begun := make(chan error, 1)
	go func() { begun <- chromedp.Do(b.ctx) }()
	select {
	case err = <-begun:
	case <-time.After(time.Minute):
		return errors.New("it did not answer within a minute")
	}
	if err != nil {
		return err
	}
	v, err := chromedp.CallBrowser(b.ctx, browser.GetVersion, cdp.Empty{})
	b.version = v.Product
	return err
}

// options are the flags of a Chromium that talks to nobody but the system under
// test, may use loopback addresses for media, and does not slow down tabs that
// nobody sees.
func (b *Browser) options(path string) []chromedp.ExecAllocatorOption {
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.DisableGPU,
		chromedp.UserDataDir(b.dir), chromedp.ModifyCmdFunc(b.wrap))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	for _, flag := range []string{"disable-quic", "disable-component-update", "allow-loopback-in-peer-connection"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	return append(options, chromedp.Flag("autoplay-policy", "no-user-gesture-required"))
}

// wrap lets a shell start Chromium and remove its profile behind it. Chromium ends
// when the pipe to this process does, and so nothing is left of a run that was
// killed either.
func (b *Browser) wrap(cmd *exec.Cmd) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		return // Close removes the profile
	}
	cmd.Args = append([]string{"sh", "-c", `"$@"; rm -rf "$0"`, b.dir, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = shell
	detach(cmd)
}

// Version is the browser's name and version, such as HeadlessChrome/156.0.8078.79.
func (b *Browser) Version() string { return b.version }

// Close ends the browser, and its tabs. It returns when its processes have ended.
func (b *Browser) Close() error {
	var errs []error
	if b.ctx != nil {
		ctx, cancel := context.WithTimeout(b.ctx, closeLimit)
		if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("close Chromium: %w", err))
		}
		cancel()
		b.cancel()
	}
	if b.pages != nil {
		errs = append(errs, b.pages.close())
	}
	return errors.Join(append(errs, b.remove())...)
}

// remove removes the profile. Processes of the browser that are about to end may
// still write to it.
func (b *Browser) remove() (err error) {
	for range 20 {
		if err = os.RemoveAll(b.dir); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("remove Chromium's profile %s: %w", filepath.Base(b.dir), err)
}
