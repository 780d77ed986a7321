package conform

import (
	"strings"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"

	"github.com/callbench/callbench/kmsmock/transcript"
)

// isBrowser tells whether a recorded peer was one. Its place is taken by a Pion
// peer, which leaves to the server what a browser would.
func (p *player) isBrowser(name string) bool {
	for i := range p.lines {
		if l := &p.lines[i]; l.Peer == name && strings.HasPrefix(l.Note, "chromium ") {
			return true
		}
	}
	return false
}

// browserState lets the peer in the place of a browser send once it is
// connected, as a browser does by itself.
func (p *player) browserState(l *transcript.Line) {
	if x := p.peers[l.Peer]; x != nil && string(l.Value) == `"connected"` {
		x.play()
	}
}

// reticence keeps back the reports about streams of which nothing has come yet:
// Pion sends them, browsers do not, and the server takes any RTCP for a sign of
// life.
type reticence struct{ interceptor.NoOp }

// NewInterceptor returns itself: it has no state.
func (r *reticence) NewInterceptor(string) (interceptor.Interceptor, error) { return r, nil }

// BindRTCPWriter stands between Pion's reports and the network.
func (r *reticence) BindRTCPWriter(w interceptor.RTCPWriter) interceptor.RTCPWriter {
	return interceptor.RTCPWriterFunc(func(packets []rtcp.Packet, a interceptor.Attributes) (int, error) {
		for _, packet := range packets {
			if !isEmptyReport(packet) {
				return w.Write(packets, a)
			}
		}
		return 0, nil
	})
}

// isEmptyReport tells whether a packet reports on nothing that was received.
func isEmptyReport(packet rtcp.Packet) bool {
	report, ok := packet.(*rtcp.ReceiverReport)
	if !ok {
		return false
	}
	for _, r := range report.Reports {
		if r.LastSequenceNumber != 0 {
			return false
		}
	}
	return true
}
