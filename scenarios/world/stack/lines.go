package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/callbench/callbench/internal/netsim"
)

// Lines are ways for streams that can be impaired: each listens on a port and
// passes on to an address what arrives there, through a link of its own. They stand
// between the servers and what these stand on, and are told over HTTP what to do.
type Lines struct {
	lines   map[string]*line
	running sync.WaitGroup
}

type line struct {
	link   *netsim.Link
	listen net.Listener
	to     string
}

// order is what a line is told: JSON of POST /lines/NAME.
type order struct {
	Do    string        `json:"do"` // cut, restore, reset, delay
	Delay time.Duration `json:"delay,omitempty"`
}

// maxOrder is the longest order, in bytes.
const maxOrder = 1024

// OpenLines listens for each of the lines, written name=LISTEN=ADDRESS.
func OpenLines(all []string) (*Lines, error) {
	l := &Lines{lines: map[string]*line{}}
	for _, one := range all {
		name, rest, ok := strings.Cut(one, "=")
		listen, to, ok2 := strings.Cut(rest, "=")
		if !ok || !ok2 {
			return nil, errors.Join(fmt.Errorf("%q is not name=listen=address", one), l.Close())
		}
		ln, err := net.Listen("tcp", listen)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen for %s: %w", name, err), l.Close())
		}
		n := &line{link: netsim.NewLink(netsim.LinkConfig{Host: name}), listen: ln, to: to}
		l.lines[name] = n
		l.running.Go(func() { n.serve(&l.running) })
	}
	return l, nil
}

// Address is where a line listens, "" if there is none of that name.
func (l *Lines) Address(name string) string {
	if n := l.lines[name]; n != nil {
		return n.listen.Addr().String()
	}
	return ""
}

// ServeHTTP implements http.Handler: POST /lines/NAME with an order, and GET /.
func (l *Lines) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutPrefix(r.URL.Path, "/lines/")
	if !ok {
		return
	}
	n := l.lines[name]
	if n == nil {
		http.Error(w, "there is no line to "+name, http.StatusNotFound)
		return
	}
	var o order
	if err := json.NewDecoder(io.LimitReader(r.Body, maxOrder)).Decode(&o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch o.Do {
	case "cut":
		n.link.Cut()
	case "restore":
		n.link.Restore()
	case "reset":
		n.link.Reset()
	case "delay":
		n.link.SetDelay(o.Delay)
	default:
		http.Error(w, "a line can cut, restore, reset and delay, not "+o.Do, http.StatusBadRequest)
	}
}

// Close ends all lines.
func (l *Lines) Close() error {
	var errs []error
	for _, n := range l.lines {
		errs = append(errs, n.listen.Close())
		n.link.Close()
	}
	l.running.Wait()
	return errors.Join(errs...)
}

func (n *line) serve(running *sync.WaitGroup) {
	for {
		in, err := n.listen.Accept()
		if err != nil {
			return
		}
		running.Go(func() { n.pass(in) })
	}
}

// pass joins two connections until one of them ends. One whose other end cannot be
// reached is reset, as if nobody listened.
func (n *line) pass(in net.Conn) {
	out, err := n.link.Dialer(new(net.Dialer).DialContext)(context.Background(), "tcp", n.to)
	if err != nil {
		if tcp, ok := in.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = in.Close()
		return
	}
	var ends sync.WaitGroup
	end := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // it ends as the connections do, and so do they
		_ = to.Close()
		_ = from.Close()
	}
	ends.Go(func() { end(out, in) })
	ends.Go(func() { end(in, out) })
	ends.Wait()
}
