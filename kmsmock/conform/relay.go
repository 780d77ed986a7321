package conform

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pion/turn/v5"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/kmsmock/transcript"
)

const realm = "example.org"

// startRelay runs a TURN server on loopback, over UDP and TCP, that has its
// relayed sockets at another address and takes the given users as long as a time in their name (TURN REST) lies behind now.
func startRelay(users map[string]string, relayed string, now time.Time) (address string, stop func() error, err error) {
	udp, tcp, err := listenBoth()
	if err != nil {
		return "", nil, err
	}
	relays := &turn.RelayAddressGeneratorStatic{RelayAddress: net.ParseIP(relayed), Address: relayed}
	server, err := turn.NewServer(turn.ServerConfig{
		Realm: realm,
		AuthHandler: func(a *turn.RequestAttributes) (string, []byte, bool) {
			password, known := users[a.Username]
			if !known || expired(a.Username, now) {
				return "", nil, false
			}
			return a.Username, turn.GenerateAuthKey(a.Username, realm, password), true
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: oldSTUN{udp}, RelayAddressGenerator: relays}},
		ListenerConfigs:   []turn.ListenerConfig{{Listener: tcp, RelayAddressGenerator: relays}},
	})
	if err != nil {
		_, _ = udp.Close(), tcp.Close()
		return "", nil, fmt.Errorf("start the TURN server: %w", err)
	}
	return udp.LocalAddr().String(), server.Close, nil
}

// listenBoth finds a port of loopback that is free for UDP and TCP.
func listenBoth() (udp net.PacketConn, tcp net.Listener, err error) {
	for range 20 {
		if udp, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
			return nil, nil, err
		}
		if tcp, err = net.Listen("tcp4", udp.LocalAddr().String()); err == nil {
			return udp, tcp, nil
		}
		_ = udp.Close()
	}
	return nil, nil, err
}

// expired tells whether a user of TURN REST credentials, <unix time>:<name>, had
// run out at that time.
func expired(user string, at time.Time) bool {
	stamp, _, ok := strings.Cut(user, ":")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	return ok && err == nil && seconds < at.Unix()
}

var caseStarted = regexp.MustCompile(`started (\S+Z)`)

// began is when a recording was made.
func began(lines []transcript.Line) time.Time {
	for i := range lines {
		if s := caseStarted.FindStringSubmatch(lines[i].Note); s != nil {
			if at, err := time.Parse(time.RFC3339, s[1]); err == nil {
				return at
			}
		}
	}
	return time.Now()
}

// startRelays starts a TURN server for each that the recording had, and one for
// peers that are reached through one.
func startRelays(needs Needs, at time.Time, target *Target) (stops []func() error, err error) {
	const user, password = "peer", "of the recording"
	needs.Users[user] = password
	recorded := needs.Relays
	if len(recorded) == 0 && needs.PeerRelay {
		recorded = []string{""}
	}
	target.addresses, target.stun = map[string]string{}, needs.STUN
	for _, was := range recorded {
		address, stop, err := startRelay(needs.Users, needs.RelayAddress, at)
		if err != nil {
			return stops, err
		}
		stops = append(stops, stop)
		if was != "" {
			target.addresses[was] = address
		}
		target.turn = &webrtc.ICEServer{URLs: []string{"turn:" + address + "?transport=udp"}, Username: user, Credential: password}
	}
	return stops, nil
}
