package kmsmock

// Cross says whose media a call receives.
type Cross int

const (
	// CrossNone forwards media along the connections that were made.
	CrossNone Cross = iota
	// CrossOwn sends every peer its own media back instead.
	CrossOwn
	// CrossCalls sends the media of each pipeline to the elements of the next
	// one in the order of their creation.
	CrossCalls
)

// Faults are ways in which a server fails on command. The zero value is none.
type Faults struct {
	// CrossMedia forwards the wrong media; it takes effect on the next packet.
	CrossMedia Cross
	// DropCandidates lists the IceCandidateFound events of each endpoint that
	// are not sent, counted from 1. Kurento sends every candidate once per
	// m-line, so that the first of a bundled audio and video call has numbers
	// 1 and 2.
	DropCandidates []int
	// KeepReleased answers release as always and leaves the object running.
	KeepReleased bool
	// StallDTLS is the number of endpoints, from now on, whose ICE connects
	// and whose DTLS handshake never begins.
	StallDTLS int
	// ThreadLimit makes create fail with 40009 once that many objects exist;
	// 0 means no limit, and less that no object can be made.
	ThreadLimit int
}

// SetFaults replaces the server's faults.
func (s *Server) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
	s.reroute(nil)
	s.log.Info("kms.faults", "cross", int(f.CrossMedia), "drop_candidates", len(f.DropCandidates),
		"keep_released", f.KeepReleased, "stall_dtls", f.StallDTLS, "thread_limit", f.ThreadLimit)
}

// Faults returns the server's present faults.
func (s *Server) Faults() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

// checkResources is the check of exceptionLimit that comes before each create.
func (s *Server) checkResources() error {
	if n := s.faults.ThreadLimit; n != 0 && len(s.objects)-1 >= n {
		return failf(40009, "NOT_ENOUGH_RESOURCES", "Reached KMS threads limit: %d", max(n, 0))
	}
	return nil
}

// stall takes one of the handshakes that shall not happen.
func (s *Server) stall() bool {
	if s.faults.StallDTLS <= 0 {
		return false
	}
	s.faults.StallDTLS--
	return true
}
