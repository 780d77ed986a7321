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

// Lines are ways that can be impaired: each listens on a port and passes on to an
// address what arrives there, through a link of its own. They stand between the
// servers and what these stand on, and before the TURN server, whose clients send
// datagrams. They are told over HTTP what to do.
type Lines struct {
	lines   map[string]*line
	running sync.WaitGroup
}

type line struct {
	link *netsim.Link
	end  interface { // a net.Listener, or datagrams
		Addr() net.Addr
		Close() error
	}
	to string
}

// order is what a line is told: JSON of POST /lines/NAME.
type order struct {
	Do    string        `json:"do"` // cut, restore, reset, delay, loss
	Delay time.Duration `json:"delay,omitempty"`
	Loss  float64       `json:"loss,omitempty"` // percent of datagrams each way
}

// maxOrder is the longest order, in bytes.
const maxOrder = 1024

// udpMark is before where a line for datagrams listens.
const udpMark = "udp:"

// OpenLines listens for each of the lines, written name=LISTEN=ADDRESS, or
// name=udp:LISTEN=ADDRESS for datagrams.
func OpenLines(all []string) (*Lines, error) {
	l := &Lines{lines: map[string]*line{}}
	for _, one := range all {
		name, rest, ok := strings.Cut(one, "=")
		listen, to, ok2 := strings.Cut(rest, "=")
		if !ok || !ok2 {
			return nil, errors.Join(fmt.Errorf("%q is not name=listen=address", one), l.Close())
		}
		n := &line{link: netsim.NewLink(netsim.LinkConfig{Host: name}), to: to}
		if err := l.open(n, listen); err != nil {
			return nil, errors.Join(fmt.Errorf("listen for %s: %w", name, err), l.Close())
		}
		l.lines[name] = n
	}
	return l, nil
}

func (l *Lines) open(n *line, listen string) error {
	if at, ok := strings.CutPrefix(listen, udpMark); ok {
		d, err := listenDatagrams(at, n.to, n.link)
		if err != nil {
			return err
		}
		n.end = d
		return nil
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	n.end = ln
	l.running.Go(func() { n.serve(ln, &l.running) })
	return nil
}

// Address is where a line listens, "" if there is none of that name.
func (l *Lines) Address(name string) string {
	if n := l.lines[name]; n != nil {
		return n.end.Addr().String()
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
	if err := n.obey(o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (n *line) obey(o order) error {
	_, udp := n.end.(*datagrams)
	switch {
	case o.Do == "loss" && !udp:
		return errors.New("streams lose nothing")
	case o.Do == "reset" && udp:
		return errors.New("datagrams have no connection to reset")
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
	case "loss":
		n.link.SetLoss(o.Loss)
	default:
		return errors.New("a line can cut, restore, reset, delay and lose, not " + o.Do)
	}
	return nil
}

// Close ends all lines.
func (l *Lines) Close() error {
	var errs []error
	for _, n := range l.lines {
		errs = append(errs, n.end.Close())
		n.link.Close()
	}
	l.running.Wait()
	return errors.Join(errs...)
}

func (n *line) serve(ln net.Listener, running *sync.WaitGroup) {
	for {
		in, err := ln.Accept()
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
