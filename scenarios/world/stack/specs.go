package stack

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/testcontainers/testcontainers-go"
)

// Ports of the parts in the stack's network.
const (
	kurentoPort = 8888
	redisPort   = 6379
	mysqlPort   = 3306
	turnPort    = 3478
	webPort     = 8080
	adminPort   = 8081
	linesPort   = 9000
)

// linesName is the part that holds the lines.
const linesName = "lines"

const database = "callbench"

func serverName(n int) string { return Server + strconv.Itoa(n) }

// images are those of the run, by part.
type images map[string]Image

// fetch sees to it that all images are there.
func (s *Stack) fetch(ctx context.Context) error {
	found := images{}
	for _, part := range PartNames() {
		if s.elsewhere(part) {
			continue
		}
		name := s.cfg.Images.Of(part)
		var err error
		switch {
		case name != "":
			found[part], err = s.engine.Fetch(ctx, name)
		default:
			found[part], err = s.own(ctx)
		}
		if err != nil {
			return fmt.Errorf("image of %s: %w; callbench doctor -world containers says what is missing", part, err)
		}
	}
	s.found = found
	return nil
}

// own is the image of servers and of the mock: the one that was named for servers,
// else one of the running binary.
func (s *Stack) own(ctx context.Context) (Image, error) {
	if name := s.cfg.Images.Of(Server); name != "" {
		return s.engine.Fetch(ctx, name)
	}
	return s.engine.self(ctx)
}

// elsewhere reports whether a part is none of the stack's containers.
func (s *Stack) elsewhere(part string) bool {
	g := s.cfg.Given
	return part == Kurento && g.Kurento != "" || part == Redis && g.Redis != "" || part == MySQL && g.MySQL != "" || part == Coturn && g.TURN != ""
}

// plan gives every part its address and says what it is run with.
func (s *Stack) plan() {
	add := func(name string) *Part {
		p := &Part{name: name, address: s.private.address(), stack: s}
		s.parts = append(s.parts, p)
		return p
	}
	for _, part := range []string{Kurento, Coturn, Redis, MySQL} {
		if !s.elsewhere(part) {
			add(part)
		}
	}
	lines := add(linesName)
	for n := range s.cfg.Servers {
		add(serverName(n + 1))
	}
	add(HAProxy)
	for _, p := range s.parts {
		switch {
		case p.name == Kurento:
			p.spec = s.kurento()
		case p.name == Coturn:
			p.spec = s.coturn(p)
		case p.name == Redis:
			p.spec = s.redis()
		case p.name == MySQL:
			p.spec = s.mysql()
		case p.name == linesName:
			p.spec = s.linesSpec()
		case p.name == HAProxy:
			p.spec = s.haproxy()
		default:
			p.spec = s.server(p, lines)
		}
		if p.spec.image.Name == "" {
			p.spec.image = s.found[p.name]
		}
	}
	for name := range s.targets() {
		s.lines[name] = &Line{name: name, url: "http://" + lines.at(linesPort)}
	}
}

func (s *Stack) kurento() spec {
	sp := spec{binds: []string{s.files + ":/recordings"}, port: port(kurentoPort, "tcp"), caps: caps{2, 2048 * mib, 4096}, ready: kurentoReady, version: kurentoVersion,
		env: map[string]string{"GST_DEBUG": "2,Kurento*:4,kms*:4", "GST_DEBUG_NO_COLOR": "1"}}
	if s.cfg.Images.StandIn(Kurento) == "kmsmock" {
		sp.command = []string{"mock", "-listen", "0.0.0.0:" + strconv.Itoa(kurentoPort), "-control", "-verbose"}
	}
	return sp
}

func (s *Stack) redis() spec {
	return spec{port: port(redisPort, "tcp"), caps: caps{1, 512 * mib, 256}, ready: redisReady, version: redisVersion,
		command: []string{"redis-server", "--appendonly", "yes", "--save", "", "--protected-mode", "no"}} // what is written outlasts a kill
}

func (s *Stack) mysql() spec {
	return spec{port: port(mysqlPort, "tcp"), caps: caps{2, 1536 * mib, 1024}, ready: mysqlReady, version: mysqlVersion,
		env: map[string]string{"MYSQL_ROOT_PASSWORD": s.secrets.mysql, "MYSQL_DATABASE": database}}
}

func (s *Stack) dsn(address string) string {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = "root", s.secrets.mysql, "tcp", address, database
	return c.FormatDSN()
}

// coturnConfig is a Coturn for one run: it relays to the media server alone. Its
// log tells of every allocation.
const coturnConfig = `listening-ip=%[1]s
relay-ip=%[1]s
listening-port=%[2]d
min-port=49152
max-port=49951
no-tls
no-dtls
use-auth-secret
static-auth-secret=%[3]s
realm=callbench
max-allocate-lifetime=60
denied-peer-ip=0.0.0.0-255.255.255.255
allowed-peer-ip=%[4]s
no-multicast-peers
no-tcp-relay
no-cli
fingerprint
verbose
`

func (s *Stack) coturn(p *Part) spec {
	peer := addressOf(hostOfURL(s.cfg.Given.Kurento)) // Coturn knows no names
	if peer == "" {
		peer = s.parts[0].address.String()
	}
	text := fmt.Sprintf(coturnConfig, p.address, turnPort, s.secrets.turn, peer)
	return spec{port: port(turnPort, "udp"), caps: caps{1, 256 * mib, 512}, ready: turnReady, version: coturnVersion,
		files:   []testcontainers.ContainerFile{file("/tmp/turnserver.conf", text)},
		command: []string{"-c", "/tmp/turnserver.conf", "--log-file=stdout", "--pidfile=/tmp/turnserver.pid"}}
}

func (s *Stack) turnURL(p *Part) string { return "turn:" + p.at(turnPort) + "?transport=udp" }

// targets are where lines lead to.
func (s *Stack) targets() map[string]string {
	t := map[string]string{}
	a := s.Addresses()
	if u, err := url.Parse(a.Kurento); err == nil && u.Scheme == "ws" {
		t[Kurento] = net.JoinHostPort(u.Hostname(), u.Port())
	}
	t[Redis], t[MySQL] = a.Redis, hostOfDSN(a.MySQL)
	if !s.elsewhere(Coturn) {
		t[Coturn] = turnHost(a.TURN)
	}
	return t
}

// lineEnds are where the lines listen.
func lineEnds() map[string]string {
	at := func(port int) string { return "0.0.0.0:" + strconv.Itoa(port) }
	return map[string]string{Kurento: at(kurentoPort), Redis: at(redisPort), MySQL: at(mysqlPort), Coturn: udpMark + at(turnPort)}
}

func (s *Stack) linesSpec() spec {
	command := []string{"lines", "-control", "0.0.0.0:" + strconv.Itoa(linesPort)}
	for name, to := range s.targets() {
		command = append(command, "-line", fmt.Sprintf("%s=%s=%s", name, lineEnds()[name], to))
	}
	return spec{image: s.found[Server], command: command, port: port(linesPort, "tcp"), caps: caps{1, 256 * mib, 256}, ready: linesReady, version: callbenchVersion}
}

func (s *Stack) server(p, lines *Part) spec {
	a := s.Addresses()
	kms := a.Kurento
	if _, ok := s.targets()[Kurento]; ok {
		u, _ := url.Parse(kms)
		u.Host = lines.at(kurentoPort)
		kms = u.String()
	}
	relay := a.TURN
	if _, ok := s.targets()[Coturn]; ok {
		relay = s.turnURL(lines) // what servers tell clients
	}
	dsn, _ := mysql.ParseDSN(a.MySQL)
	dsn.Addr = lines.at(mysqlPort)
	env := map[string]string{"CALLBENCH_LISTEN": "0.0.0.0:" + strconv.Itoa(webPort), "CALLBENCH_KMS": kms, "CALLBENCH_REDIS": lines.at(redisPort),
		"CALLBENCH_MYSQL": dsn.FormatDSN(), "CALLBENCH_DATA": "journal", "CALLBENCH_RECORDINGS": "/recordings", "CALLBENCH_RECORD_URI": "file:///recordings",
		"CALLBENCH_NODE": p.name, "CALLBENCH_TURN": relay, "CALLBENCH_TURN_SECRET": a.Secret, "CALLBENCH_SECRET": s.secrets.token,
		"CALLBENCH_ADMIN": "0.0.0.0:" + strconv.Itoa(adminPort), "CALLBENCH_ADMIN_TOKEN": s.secrets.admin, "CALLBENCH_LOG_LEVEL": "DEBUG",
		"CALLBENCH_TRUSTED_PROXIES": s.private.subnet.String(), "CALLBENCH_MYSQL_REFRESH": RelationsRefresh.String()}
	return spec{image: s.found[Server], command: []string{"serve", "-users="}, env: env, binds: []string{s.files + ":/recordings"}, port: port(webPort, "tcp"),
		caps: caps{2, 1024 * mib, 1024}, ready: serverReady, version: callbenchVersion}
}

// haproxyConfig keeps a client's address at one server, knows within a second which
// ones take connections, and lets WebSockets be silent for as long as the protocol
// does. Whether a server has its media server is nothing to the balancer: what is
// connected stays, and what comes back finds its session.
const haproxyConfig = `global
  log stdout format raw local0
  maxconn 4096
defaults
  mode http
  log global
  option httplog
  option forwardfor
  timeout connect 2s
  timeout client 2m
  timeout server 2m
  timeout tunnel 2h
frontend clients
  bind :%d
  default_backend servers
backend servers
  balance source
  hash-type consistent
  option httpchk GET /healthz
  option redispatch
  retries 3
  default-server inter 300ms fastinter 100ms fall 2 rise 1 on-marked-down shutdown-sessions
%s`

func (s *Stack) haproxy() spec {
	var servers strings.Builder
	for _, p := range s.ServerParts() {
		fmt.Fprintf(&servers, "  server %s %s check\n", p.name, p.at(webPort))
	}
	text := fmt.Sprintf(haproxyConfig, webPort, servers.String())
	return spec{files: []testcontainers.ContainerFile{file("/usr/local/etc/haproxy/haproxy.cfg", text)}, port: port(webPort, "tcp"), caps: caps{1, 256 * mib, 256},
		ready: balancerReady, version: haproxyVersion}
}

func port(number int, protocol string) string { return strconv.Itoa(number) + "/" + protocol }

func file(path, text string) testcontainers.ContainerFile {
	return testcontainers.ContainerFile{ContainerFilePath: path, Reader: strings.NewReader(text), FileMode: 0o644}
}
