package kmsmock

import "time"

// Timing chooses how fast the server answers.
type Timing int

const (
	// Recorded answers and reports with the delays that were recorded from
	// Kurento Media Server 7.3.0 with a client on the same machine.
	Recorded Timing = iota
	// Fast answers and reports at once.
	Fast
)

// A pace is a set of delays. The figures of recordedPace are medians of the
// recordings.
type pace struct {
	respond         time.Duration // from the end of the work to the answer
	event           time.Duration // from the cause of an event to its frame
	destroyed       time.Duration // from release to ObjectDestroyed
	endpoint        time.Duration // creating a WebRtcEndpoint
	firstEndpoint   time.Duration // creating the first one of a process
	negotiate       time.Duration // processOffer, generateOffer, processAnswer
	firstNegotiate  time.Duration // the first of them in a process
	gather          time.Duration // gatherCandidates until its answer
	ackDelay        time.Duration // how long the client's TCP holds back its ACK
	resolve         time.Duration // a name in a candidate that no DNS knows
	serverTimeout   time.Duration // how long gathering waits for STUN and TURN servers
	acceptTCP       time.Duration // from the first packet over TCP to its answer
	firstRelay      time.Duration // from gathering to the first relay candidate
	relayStep       time.Duration // from one relay candidate to what comes next
	relayStepTCP    time.Duration // the same when the TURN server is reached over TCP
	iceFailure      time.Duration // from CONNECTING to FAILED
	iceRetry        time.Duration // how long late candidates are tried
	flowPeriod      time.Duration // between looks at whether media flows
	mediaTimeout    time.Duration // from the last packet to MediaState DISCONNECTED
	firstReport     time.Duration // until the first RTCP report about audio
	audioReports    time.Duration // between RTCP reports about audio
	videoReports    time.Duration // the same about video
	keyFrameSpacing time.Duration // least time between key frame requests to one sender
}

func recordedPace() pace {
	return pace{
		respond:         200 * time.Microsecond,
		event:           300 * time.Microsecond,
		destroyed:       time.Millisecond,
		endpoint:        1200 * time.Microsecond,
		firstEndpoint:   170 * time.Millisecond,
		negotiate:       5 * time.Millisecond,
		firstNegotiate:  220 * time.Millisecond,
		gather:          2 * time.Millisecond,
		ackDelay:        40 * time.Millisecond,
		resolve:         6100 * time.Millisecond,
		serverTimeout:   2035 * time.Millisecond,
		acceptTCP:       20 * time.Millisecond,
		firstRelay:      40 * time.Millisecond,
		relayStep:       20 * time.Millisecond,
		relayStepTCP:    64 * time.Millisecond,
		iceFailure:      7360 * time.Millisecond,
		iceRetry:        2030 * time.Millisecond,
		flowPeriod:      1_999_417 * time.Microsecond, // crooked, see transport.go
		mediaTimeout:    8300 * time.Millisecond,
		firstReport:     431_119 * time.Microsecond,
		audioReports:    5_003_117 * time.Microsecond,
		videoReports:    551_321 * time.Microsecond,
		keyFrameSpacing: 500 * time.Millisecond,
	}
}

// paceOf keeps the time-outs in both modes: they are behaviour, not slowness.
func paceOf(cfg Config) pace {
	p := recordedPace()
	if cfg.Timing == Fast {
		p.ackDelay = 0
		p.respond, p.event, p.destroyed = 0, 0, 0
		p.endpoint, p.firstEndpoint, p.negotiate, p.firstNegotiate, p.gather = 0, 0, 0, 0, 0
		p.resolve, p.acceptTCP, p.firstRelay, p.relayStep, p.relayStepTCP = 0, 0, 0, 0, 0
	}
	return p
}

// pacing is what one request may change about its own answer.
type pacing struct {
	respond time.Duration
	fate    fate
	silent  bool
	scenes  []scene
}

// create is how long it takes to make an object of class c.
func (p *pace) create(s *Server, c *class) time.Duration {
	if c.name != "WebRtcEndpoint" {
		return 0
	}
	if !s.warmEndpoint && !s.cfg.Warm {
		s.warmEndpoint = true
		return p.firstEndpoint
	}
	return p.endpoint
}

// ackDelay is how long a new connection's client holds back its ACK.
func (s *Server) ackDelay() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.NoNagle {
		return 0
	}
	return s.pace.ackDelay
}

// negotiation is how long SDP work takes.
func (p *pace) negotiation(s *Server) time.Duration {
	if !s.warmSDP && !s.cfg.Warm {
		s.warmSDP = true
		return p.firstNegotiate
	}
	return p.negotiate
}

// wait lets time pass without the server's lock, so that other connections
// are served meanwhile. The caller must look again at what it knew before.
func (s *Server) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
	}
}
