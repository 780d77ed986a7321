package kmsmock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"syscall"
	"unicode/utf8"

	"github.com/callbench/callbench/kmsmock/clip"
)

// largestFile bounds what a player reads into memory.
const largestFile = 1 << 30

var (
	errNoFile  = errors.New("kmsmock: no such file")
	errRefused = errors.New("kmsmock: server does not answer")
	errStatus  = errors.New("kmsmock: server has no such file")
	errScheme  = errors.New("kmsmock: URI scheme cannot be played")
	errVoid    = errors.New("kmsmock: empty file")
	errText    = errors.New("kmsmock: text cannot be played")
)

// read loads the player's clip.
func (p *playerEndpoint) read(ctx context.Context) (*clip.Clip, error) {
	var b []byte
	var err error
	switch p.scheme() {
	case "file":
		_, path := p.file()
		b, err = readFile(path)
	case "http", "https":
		b, err = p.fetch(ctx)
	default:
		err = errScheme
	}
	switch {
	case err != nil:
		return nil, err
	case len(b) == 0:
		return nil, errVoid
	}
	c, err := clip.Read(b)
	if errors.Is(err, clip.ErrUnknown) && utf8.Valid(b) {
		return nil, errText
	}
	return c, err
}

func readFile(path string) ([]byte, error) {
	// A FIFO that nobody writes to would not even open.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, errNoFile
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errNoFile
	}
	return io.ReadAll(io.LimitReader(f, largestFile))
}

// fetch gets the file of an HTTP server, whole, unless ctx ends before.
func (p *playerEndpoint) fetch(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.absolute, nil)
	if err != nil {
		return nil, errRefused
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, errRefused
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, errStatus
	}
	return io.ReadAll(io.LimitReader(response.Body, largestFile))
}

// reportLoad sends the Errors with which Kurento answers a file that it cannot
// play. The state stays START. The lock is held.
func (p *playerEndpoint) reportLoad(err error) {
	const find = "../plugins/elements/gsttypefindelement.c"
	found := "/GstDecodeBin:decodebin" + p.number() + "/GstTypeFindElement:typefind"
	switch {
	case errors.Is(err, errNoFile):
		p.reportPlain(4, "INVALID_URI", "Invalid URI")
	case errors.Is(err, errStatus), errors.Is(err, errRefused):
		times := 1
		if errors.Is(err, errStatus) {
			times = 2
		}
		p.reportPlain(times, "INVALID_URI", "Invalid URI")
		p.reportGst(4, "UNEXPECTED_ELEMENT_ERROR", "Stream doesn't contain enough data.",
			find+"(1012): gst_type_find_element_chain_do_typefinding (): "+p.place()+"/GstTypeFindElement:typefindelement"+p.number()+":\nCan't typefind stream")
	case errors.Is(err, errScheme):
		p.reportScheme()
	case errors.Is(err, errVoid):
		p.reportGst(4, "UNEXPECTED_ELEMENT_ERROR", "Stream contains no data.",
			find+"(1154): gst_type_find_element_loop (): "+p.place()+found+":\nCan't typefind empty stream")
		p.reportStream(find+"(1257): gst_type_find_element_loop (): "+p.place()+found, "error (-5)")
	case errors.Is(err, clip.ErrUnknown):
		p.reportGst(4, "UNEXPECTED_ELEMENT_ERROR", "Could not determine type of stream.",
			find+"(1186): gst_type_find_element_loop (): "+p.place()+found)
		p.reportStream(find+"(1257): gst_type_find_element_loop (): "+p.place()+found, "error (-5)")
	default: // text, or a container with nothing in it that can be played
		p.reportPlain(1, "INVALID_MEDIA", "Invalid Media")
		p.reportStream(find+"(1257): gst_type_find_element_loop (): "+p.place()+found, "not-linked (-1)")
	}
}

// reportScheme is about a URI that is neither a file nor on the web. Kurento
// plays RTSP, which answers here as a camera that is not there.
func (p *playerEndpoint) reportScheme() {
	if p.scheme() == "rtsp" {
		p.reportPlain(1, "INVALID_URI", "Invalid URI")
		return
	}
	p.reportGst(12, "UNEXPECTED_ELEMENT_ERROR", fmt.Sprintf("No URI handler implemented for %q.", p.scheme()),
		"../gst/playback/gsturidecodebin.c(1487): gen_source_element (): "+p.place())
}

// reportPlain sends an Error of the player's own, as often as Kurento does.
func (p *playerEndpoint) reportPlain(times int, kind, what string) {
	for range times {
		p.obj.srv.emit(p.obj, "Error", object{"description": what, "errorCode": 0, "type": kind})
	}
}
