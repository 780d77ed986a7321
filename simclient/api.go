package simclient

import (
	"fmt"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/logging"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"
	"github.com/pion/webrtc/v4"
)

// Interceptors names a set of Pion interceptors. Each costs: the default set of
// Pion takes a fifth more CPU to send and a quarter more to receive than none.
type Interceptors string

// The sets of interceptors.
const (
	// Lean has none: no reports, no retransmission.
	Lean Interceptors = "lean"
	// Reports sends RTCP sender and receiver reports.
	Reports Interceptors = "reports"
	// NACK has reports and asks for and answers retransmissions.
	NACK Interceptors = "nack"
)

// nackHistory is how many packets a sender keeps for retransmission. Pion's
// default of 1,024 costs 1.5 MB for each client.
const nackHistory = 128

// stack is what the PeerConnections of a client are made with.
type stack struct {
	codecs       webrtc.MediaEngine
	interceptors *interceptor.Registry
	settings     webrtc.SettingEngine
	net          transport.Net // nil: the machine's own
	gate         *gate
}

func newStack(cfg *Config, g *gate) (*stack, error) {
	s := &stack{settings: settings(cfg), net: cfg.Net, gate: g}
	if err := cfg.Profile.register(&s.codecs, cfg.NoCamera); err != nil {
		return nil, err
	}
	registry, err := cfg.Interceptors.registry()
	if err != nil {
		return nil, err
	}
	s.interceptors = registry
	return s, nil
}

// api makes what one PeerConnection is made with: it has ICE credentials of its
// own, and sees the machine's network as it is then.
func (s *stack) api() (*webrtc.API, error) {
	network := s.net
	if network == nil {
		own, err := stdnet.NewNet()
		if err != nil {
			return nil, fmt.Errorf("look at the network: %w", err)
		}
		network = own
	}
	own := s.settings
	own.SetNet(&gatedNet{network, s.gate})
	credentials(&own)
	return webrtc.NewAPI(webrtc.WithMediaEngine(&s.codecs), webrtc.WithInterceptorRegistry(s.interceptors), webrtc.WithSettingEngine(own)), nil
}

// settings leaves ICE at Pion's timing: disconnected after 5 s without an
// answer, failed 25 s later.
func settings(cfg *Config) webrtc.SettingEngine {
	var s webrtc.SettingEngine
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	s.DisableActiveTCP(true)
	// A media server that closes DTLS looks to a browser as one that is gone: ICE
	// finds out. Pion would close the PeerConnection.
	s.DisableCloseByDTLS(true)
	if cfg.Relay {
		// Pion holds a relayed pair back for 2 s, in case a better one comes. Here none can,
		// and a browser does not wait either.
		s.SetRelayAcceptanceMinWait(0)
	}
	s.SetIncludeLoopbackCandidate(cfg.Loopback)
	if cfg.IPFilter != nil {
		s.SetIPFilter(cfg.IPFilter)
	}
	// Pion's own messages repeat what the event log tells. PION_LOG_* bring them back.
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	s.LoggerFactory = quiet
	return s
}

// registry is the set of interceptors that i names.
func (i Interceptors) registry() (*interceptor.Registry, error) {
	r := new(interceptor.Registry)
	if i == Lean {
		return r, nil
	}
	receiver, err := report.NewReceiverInterceptor()
	if err != nil {
		return nil, fmt.Errorf("make receiver reports: %w", err)
	}
	sender, err := report.NewSenderInterceptor()
	if err != nil {
		return nil, fmt.Errorf("make sender reports: %w", err)
	}
	r.Add(receiver)
	r.Add(sender)
	if i == Reports {
		return r, nil
	}
	responder, err := nack.NewResponderInterceptor(nack.ResponderSize(nackHistory))
	if err != nil {
		return nil, fmt.Errorf("make NACK responder: %w", err)
	}
	generator, err := nack.NewGeneratorInterceptor()
	if err != nil {
		return nil, fmt.Errorf("make NACK generator: %w", err)
	}
	r.Add(responder)
	r.Add(generator)
	return r, nil
}
