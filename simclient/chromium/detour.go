package chromium

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/signaling"
)

// loopback is where the browser reaches the proxies.
const loopback = "127.0.0.1"

// maxDatagram is the largest datagram that there is.
const maxDatagram = 1 << 16

// detour leads all traffic of a client over its link. Between the browser and each
// address that it sends to there are two sockets: an inner one, which the browser
// takes for that address, and an outer one behind the link, which the other side
// takes for the browser's socket. So it is a translator of addresses in both
// directions.
type detour struct {
	link  *netsim.Link
	net   transport.Net // whose sockets are behind the link
	host  string        // of the outer sockets, for the other side
	hides bool          // the browser hides its addresses, and has one that is everywhere

	ctx   context.Context // ends with close
	stop  context.CancelFunc
	group sync.WaitGroup

	mu     sync.Mutex
	closed bool
	inner  map[netip.AddrPort]net.PacketConn // by the address that it stands for
	outer  map[netip.AddrPort]net.PacketConn // by the browser's address
	web    net.Listener
	conns  map[net.Conn]struct{}
}

// ownAddress is this machine's address on the way to a URL's host; that of loopback
// if there is no way.
func ownAddress(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return loopback
	}
	const discard = "9" // nothing is sent
	conn, err := net.Dial("udp4", net.JoinHostPort(u.Hostname(), discard))
	if err != nil {
		return loopback
	}
	defer conn.Close()
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		return loopback
	}
	return host
}

func newDetour(link *netsim.Link, host string, hides bool) (*detour, error) {
	std, err := stdnet.NewNet()
	if err != nil {
		return nil, fmt.Errorf("read the network's interfaces: %w", err)
	}
	d := &detour{link: link, net: netsim.Net(std, link), host: host, hides: hides, inner: map[netip.AddrPort]net.PacketConn{},
		outer: map[netip.AddrPort]net.PacketConn{}, conns: map[net.Conn]struct{}{}}
	d.ctx, d.stop = context.WithCancel(context.Background())
	return d, nil
}

// signaling listens for the browser's WebSocket and returns the address that leads
// to the server's, with TLS if that has it.
func (d *detour) signaling(address string, secure *tls.Config) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" {
		return "", fmt.Errorf("%q is not a ws:// or wss:// URL", address)
	}
	to := server{host: u.Host, address: u.Host}
	if u.Port() == "" {
		to.address = net.JoinHostPort(u.Hostname(), map[string]string{"ws": "80", "wss": "443"}[u.Scheme])
	}
	if u.Scheme == "wss" {
		to.tls = new(tls.Config)
		if secure != nil {
			to.tls = secure.Clone()
		}
		if to.tls.ServerName == "" {
			to.tls.ServerName = u.Hostname()
		}
	}
	if d.web, err = net.Listen("tcp", loopback+":0"); err != nil {
		return "", fmt.Errorf("listen for the browser's WebSocket: %w", err)
	}
	d.group.Go(func() {
		for {
			conn, err := d.web.Accept()
			if err != nil {
				return
			}
			d.group.Go(func() { d.carry(conn, to) })
		}
	})
	u.Scheme, u.Host = "ws", d.web.Addr().String()
	return u.String(), nil
}

// server is where WebSockets are led to.
type server struct {
	host, address string
	tls           *tls.Config // nil: without
}

// carry joins a connection of the browser's with one to the server over the link,
// until either ends. The handshake becomes one of the server's own host, without
// the page's origin: as from an app.
func (d *detour) carry(browser net.Conn, to server) {
	if !d.keep(browser) {
		return
	}
	defer d.forget(browser)
	said := bufio.NewReader(browser)
	r, err := http.ReadRequest(said)
	if err != nil {
		return
	}
	r.Host = to.host
	r.Header.Del("Origin")
	far, err := d.link.Dialer(new(net.Dialer).DialContext)(d.ctx, "tcp", to.address)
	if err != nil {
		return
	}
	if to.tls != nil {
		far = tls.Client(far, to.tls)
	}
	if !d.keep(far) {
		return
	}
	defer d.forget(far)
	if err := r.Write(far); err != nil {
		return
	}
	done := make(chan struct{}, 2)
	join := func(to io.Writer, from io.Reader) {
		_, _ = io.Copy(to, from) // how it ended does not matter: both end
		done <- struct{}{}
	}
	d.group.Go(func() { join(far, said) })
	d.group.Go(func() { join(browser, far) })
	<-done
}

// keep notes a connection, unless everything has ended.
func (d *detour) keep(c net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		c.Close()
		return false
	}
	d.conns[c] = struct{}{}
	return true
}

func (d *detour) forget(c net.Conn) {
	c.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, c)
}

// drop ends the connections that carry the WebSocket.
func (d *detour) drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.conns {
		c.Close()
	}
}

// candidateFor changes a candidate's address for the browser, or for the server.
func (c *Client) candidateFor(_ *http.Request, question json.RawMessage) (any, error) {
	var q struct {
		Candidate signaling.ICECandidate
		Side      string
	}
	if err := json.Unmarshal(question, &q); err != nil {
		return nil, err
	}
	changed, err := c.detour.candidate(q.Candidate.Candidate, q.Side == "local", c.cfg.Relay)
	if err != nil {
		return nil, err
	}
	if changed == "" {
		return nil, nil
	}
	q.Candidate.Candidate = changed
	return q.Candidate, nil
}

// candidate leads a host candidate over the detour; "" leaves it out. Relayed ones
// stay: the way to the TURN server is what is led. So do names, which nobody here
// knows the addresses of. TCP has no detour. Of the browser's own addresses it is
// that of loopback which leads to the proxies: those of other interfaces come and go
// with what else runs on this machine.
func (d *detour) candidate(line string, local, relay bool) (string, error) {
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[6] != "typ" {
		return line, nil
	}
	if strings.EqualFold(fields[2], "tcp") {
		return "", nil
	}
	address, err := netip.ParseAddrPort(net.JoinHostPort(fields[4], fields[5]))
	if err != nil || relay || fields[7] == "relay" || !address.Addr().Is4() {
		return line, nil
	}
	find, host := d.toward, loopback
	if local {
		if !d.mayCome(address) {
			return "", nil
		}
		find, host = d.from, d.host
	}
	conn, err := find(address)
	if err != nil {
		return "", err
	}
	fields[4], fields[5] = host, port(conn)
	return strings.Join(fields, " "), nil
}

// mayCome tells whether the browser may send from an address.
func (d *detour) mayCome(from netip.AddrPort) bool { return d.hides || from.Addr().IsLoopback() }

func port(c net.PacketConn) string {
	_, port, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		return "0"
	}
	return port
}

// serversFor changes the addresses of TURN servers for the browser. STUN servers
// would tell addresses that are nobody's, and are left out.
func (c *Client) serversFor(_ *http.Request, question json.RawMessage) (any, error) {
	var list []signaling.ICEServer
	if err := json.Unmarshal(question, &list); err != nil {
		return nil, err
	}
	servers := []signaling.ICEServer{}
	for _, s := range list {
		var urls []string
		for _, u := range s.URLs {
			led, err := c.detour.server(u)
			if err != nil {
				return nil, err
			}
			if led != "" {
				urls = append(urls, led)
			}
		}
		if len(urls) > 0 {
			s.URLs = urls
			servers = append(servers, s)
		}
	}
	return servers, nil
}

// server leads a TURN server's address over the detour.
func (d *detour) server(address string) (string, error) {
	scheme, rest, _ := strings.Cut(address, ":")
	rest, query, _ := strings.Cut(rest, "?")
	switch {
	case scheme == "stun" || scheme == "stuns":
		return "", nil
	case scheme != "turn" || strings.Contains(query, "transport=tcp"):
		return address, nil
	}
	host, portText, err := net.SplitHostPort(rest)
	if err != nil {
		host, portText = rest, "3478" // RFC 8656 §6
	}
	number, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return "", fmt.Errorf("TURN server %s: %w", rest, err)
	}
	ip, err := net.ResolveIPAddr("ip4", host)
	if err != nil {
		return "", fmt.Errorf("TURN server %s: %w", rest, err)
	}
	addr, _ := netip.AddrFromSlice(ip.IP.To4())
	conn, err := d.reach(netip.AddrPortFrom(addr, uint16(number)), true) // from everywhere, or gathering would wait long for an answer
	if err != nil {
		return "", err
	}
	return "turn:" + loopback + ":" + port(conn) + "?transport=udp", nil
}

// toward is the inner socket that stands for an address outside, for who may come.
func (d *detour) toward(outside netip.AddrPort) (net.PacketConn, error) {
	return d.reach(outside, false)
}

// reach is toward, or with anyone for all addresses of the browser.
func (d *detour) reach(outside netip.AddrPort, anyone bool) (net.PacketConn, error) {
	return d.open(d.inner, outside, func() (net.PacketConn, error) { return net.ListenPacket("udp4", loopback+":0") },
		func(own net.PacketConn, b []byte, from netip.AddrPort) {
			if !anyone && !d.mayCome(from) {
				return
			}
			if via, err := d.from(from); err == nil {
				_, _ = via.WriteTo(b, net.UDPAddrFromAddrPort(outside)) // as a network loses datagrams
			}
		})
}

// from is the outer socket that stands for one of the browser's. It is bound to no
// address: the media server may be in another network than the signaling server.
func (d *detour) from(browser netip.AddrPort) (net.PacketConn, error) {
	return d.open(d.outer, browser, func() (net.PacketConn, error) { return d.net.ListenPacket("udp4", "0.0.0.0:0") },
		func(own net.PacketConn, b []byte, from netip.AddrPort) {
			if via, err := d.toward(from); err == nil {
				_, _ = via.WriteTo(b, net.UDPAddrFromAddrPort(browser)) // as above
			}
		})
}

// open finds or opens a socket and passes on what it receives.
func (d *detour) open(all map[netip.AddrPort]net.PacketConn, key netip.AddrPort, listen func() (net.PacketConn, error),
	pass func(own net.PacketConn, b []byte, from netip.AddrPort)) (net.PacketConn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, net.ErrClosed
	}
	if conn := all[key]; conn != nil {
		return conn, nil
	}
	conn, err := listen()
	if err != nil {
		return nil, fmt.Errorf("open a proxy for datagrams: %w", err)
	}
	all[key] = conn
	d.group.Go(func() {
		b := make([]byte, maxDatagram)
		for {
			n, addr, err := conn.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			from, ok := addr.(*net.UDPAddr)
			if err != nil || !ok { // such as the news that nobody listens there any more
				if d.ctx.Err() != nil {
					return
				}
				continue
			}
			pass(conn, b[:n], netip.AddrPortFrom(from.AddrPort().Addr().Unmap(), from.AddrPort().Port()))
		}
	})
	return conn, nil
}

// close ends the detour and returns when its goroutines have ended.
func (d *detour) close() {
	d.stop()
	d.mu.Lock()
	d.closed = true
	if d.web != nil {
		d.web.Close()
	}
	for _, all := range []map[netip.AddrPort]net.PacketConn{d.inner, d.outer} {
		for _, c := range all {
			c.Close()
		}
	}
	for c := range d.conns {
		c.Close()
	}
	d.mu.Unlock()
	d.group.Wait()
}
