package kmsmock

import (
	"net"
	"slices"
	"strings"
)

// T is what the package needs of a *testing.T.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Start serves a mock for a Go test: on a free port of the loopback interface,
// with Fast timing and without the Nagle delay, until the test ends. Objects
// that are left then fail the test, unless Config.KeepLeft is set. Each of the
// functions may change the configuration.
func Start(t T, configure ...func(*Config)) *Server {
	t.Helper()
	cfg := Config{Timing: Fast, NoNagle: true, Interfaces: loopbackNames()}
	for _, f := range configure {
		f(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatalf("%v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("kmsmock: %v", err)
	}
	s.announce(l)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if !cfg.KeepLeft && !s.told() {
			s.Empty(t)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("%v", err)
		}
	})
	return s
}

// loopbackNames are those of the machine's loopback interfaces.
func loopbackNames() (names []string) {
	all, _ := net.Interfaces()
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			names = append(names, i.Name)
		}
	}
	return names
}

// Empty fails the test if clients have left objects behind, and says which.
func (s *Server) Empty(t T) {
	t.Helper()
	if left := s.Left(); len(left) > 0 {
		s.tell(left)
		t.Errorf("kmsmock: not released:\n%s", s.Dump())
	}
}

// tell remembers which objects Empty has told of.
func (s *Server) tell(left []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.toldLeft = left
}

// told tells whether Empty has told of just what is left now, so that the end of
// a test does not repeat it.
func (s *Server) told() bool {
	left := s.Left()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Equal(s.toldLeft, left)
}

// announce remembers where the server is reached.
func (s *Server) announce(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address == "" {
		s.address = l.Addr().String()
	}
}

// URL is where clients reach the server: the first listener that it was given.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address == "" {
		return ""
	}
	return "ws://" + s.address + wsPath
}

// ControlURL is the address of the control endpoint.
func (s *Server) ControlURL() string {
	return strings.TrimSuffix(strings.Replace(s.URL(), "ws:", "http:", 1), wsPath) + controlPath
}
