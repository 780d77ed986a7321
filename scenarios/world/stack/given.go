package stack

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// check refuses what no container can reach.
func (g Given) check() error {
	if u, err := url.Parse(g.Kurento); g.Kurento != "" && (err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" || u.User != nil) {
		return errors.New("-kms is a ws:// or wss:// URL without name and password, such as ws://192.0.2.1:8888/kurento")
	}
	if _, _, err := net.SplitHostPort(g.Redis); g.Redis != "" && err != nil { // what it is may have a password in it
		return errors.New("-redis is HOST:PORT for containers")
	}
	if g.MySQL != "" {
		if _, err := mysql.ParseDSN(g.MySQL); err != nil {
			return fmt.Errorf("-mysql: %w", err)
		}
	}
	if (g.TURN == "") != (g.Secret == "") {
		return errors.New("-turn and the TURN server's secret go together")
	}
	for flag, host := range map[string]string{"-kms": hostOfURL(g.Kurento), "-redis": hostOf(g.Redis), "-mysql": hostOf(hostOfDSN(g.MySQL)), "-turn": hostOf(turnHost(g.TURN))} {
		if host == "localhost" || net.ParseIP(host).IsLoopback() {
			return fmt.Errorf("%s: %s is the container itself in a container: let it listen on another address of this machine, and give that", flag, host)
		}
	}
	return nil
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

func hostOfURL(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// addressOf is the address of a host, or the host itself if nobody knows it.
func addressOf(host string) string {
	a, err := net.ResolveIPAddr("ip4", host)
	if host == "" || err != nil {
		return host
	}
	return a.String()
}

// hostOfDSN is host and port of a database; a DSN holds a password, too.
func hostOfDSN(dsn string) string {
	c, err := mysql.ParseDSN(dsn)
	if dsn == "" || err != nil {
		return ""
	}
	return c.Addr
}

// turnHost is host and port in a TURN URL.
func turnHost(address string) string {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "turns:"), "turn:")
	host, _, _ := strings.Cut(address, "?")
	return host
}
