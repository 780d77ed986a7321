package kmsmock

import (
	"time"

	"github.com/pion/rtcp"
)

const (
	// The least and the first estimate, in bit/s, as in Kurento.
	rembLeast = 30_000
	rembFirst = 2_000_000
	// rembGrowth is how far above what comes in an estimate may grow.
	rembGrowth = 2
	// limitLife is how long the limit of a receiver counts.
	limitLife = 10 * time.Second
)

// rembSettings are the bandwidth properties of an endpoint as they were when it
// negotiated; later changes have no effect, as in Kurento. In bit/s.
type rembSettings struct {
	minRecv, maxRecv, minSend, maxSend int64
	onConnect                          int64
	intervalTop, linearMin, upLosses   int64
	exponential, linearGrade           float64
	decrement, threshold               float64
}

// rembSettingsOf reads the properties. The lock is held.
func rembSettingsOf(o *mediaObject) rembSettings {
	kbps := func(name string) int64 { n, _ := o.props[name].(int64); return n * 1000 }
	s := rembSettings{
		minRecv: kbps("minVideoRecvBandwidth"), maxRecv: kbps("maxVideoRecvBandwidth"),
		minSend: kbps("minVideoSendBandwidth"), maxSend: kbps("maxVideoSendBandwidth"),
		onConnect: 300_000, intervalTop: 100, linearMin: 50, upLosses: 12,
		exponential: 0.04, linearGrade: 30, decrement: 0.5, threshold: 0.8,
	}
	set, _ := o.props["rembParams"].(object)
	if set == nil {
		return s
	}
	s.linearMin = 100
	for name, target := range map[string]*int64{"rembOnConnect": &s.onConnect, "packetsRecvIntervalTop": &s.intervalTop,
		"linealFactorMin": &s.linearMin, "upLosses": &s.upLosses} {
		if n, ok := set[name].(int64); ok {
			*target = n
		}
	}
	for name, target := range map[string]*float64{"exponentialFactor": &s.exponential, "linealFactorGrade": &s.linearGrade,
		"decrementFactor": &s.decrement, "thresholdFactor": &s.threshold} {
		switch n := set[name].(type) {
		case float32:
			*target = float64(n)
		case float64:
			*target = n
		}
	}
	s.intervalTop = max(s.intervalTop, 1)
	return s
}

// clamp puts a bitrate between two limits; 0 is none.
func clamp(rate, least, most int64) int64 {
	if least > 0 {
		rate = max(rate, least)
	}
	if most > 0 {
		rate = min(rate, most)
	}
	return rate
}

// getMinVideoRecv answers with the least to send, as Kurento does: what was
// set as the least to receive counts all the same.
func getMinVideoRecv(o *mediaObject) (value, error) { return o.props["minVideoSendBandwidth"], nil }

func setMinVideoRecv(o *mediaObject, v value) error {
	rate, most := v.(int64), o.props["maxVideoRecvBandwidth"].(int64)
	if most != 0 && uint32(rate) > uint32(most) {
		rate = most
	}
	o.props["minVideoRecvBandwidth"] = rate
	return nil
}

// setMinVideoSend and setMaxVideoSend keep the two in order. Kurento compares
// them without sign.
func setMinVideoSend(o *mediaObject, v value) error {
	o.props["minVideoSendBandwidth"] = int64(int32(min(uint32(v.(int64)), uint32(o.props["maxVideoSendBandwidth"].(int64)))))
	return nil
}

func setMaxVideoSend(o *mediaObject, v value) error {
	if rate := uint32(v.(int64)); rate != 0 {
		v = int64(int32(max(rate, uint32(o.props["minVideoSendBandwidth"].(int64)))))
	}
	o.props["maxVideoSendBandwidth"] = v
	return nil
}

// A rembEstimator works out what a sender of video is told to send at most: more
// while nothing is lost, half when much is.
type rembEstimator struct {
	rembSettings
	probed          bool
	estimate        int64
	linearFrom      int64 // the estimate grows linearly above
	linear          int64
	most, average   int64 // incoming bitrate
	losses          int64 // in 1/256, over the last packets
	at              time.Time
	octets, packets uint64
	expected        uint32
}

func newRembEstimator(s rembSettings) *rembEstimator {
	return &rembEstimator{rembSettings: s, estimate: rembFirst, linearFrom: rembFirst, linear: 50}
}

// update takes the counters of a stream and the fraction lost that was just
// reported; false means that there is nothing to say.
func (e *rembEstimator) update(st *inStream, fraction uint8, now time.Time) bool {
	expected, octets, packets := st.expected()-e.expected, st.bytes-e.octets, int64(st.packets-e.packets)
	if expected == 0 {
		return false
	}
	since := st.firstAt
	if !e.at.IsZero() {
		since = e.at
	}
	elapsed := now.Sub(since).Seconds()
	if elapsed <= 0 {
		return false
	}
	rate := int64(float64(octets) * 8 / elapsed)
	e.at, e.octets, e.packets, e.expected = now, st.bytes, st.packets, st.expected()
	if !e.probed {
		if rate == 0 {
			return false
		}
		e.estimate, e.probed = rate, true
	}
	e.learn(rate, packets, int64(fraction))
	if e.losses == 0 {
		e.grow()
	} else {
		e.shrink()
	}
	e.estimate = clamp(e.estimate, 0, e.maxRecv)
	return true
}

func (e *rembEstimator) learn(rate, packets, fraction int64) {
	top := max(e.intervalTop, packets)
	e.losses = (e.losses*(top-packets) + fraction*packets) / top
	e.most = max(e.most, rate)
	if e.average == 0 {
		e.average = rate
	} else {
		e.average = (e.average*7 + rate) / 8
	}
}

func (e *rembEstimator) grow() {
	base := max(e.estimate, e.most)
	next := base + e.linear
	if base < e.linearFrom {
		next = int64(float64(base) * (1 + e.exponential))
	}
	e.estimate = max(e.estimate, min(next, e.most*rembGrowth))
}

func (e *rembEstimator) shrink() {
	base := max(e.estimate, e.average)
	e.linearFrom = int64(float64(base) * e.threshold)
	e.linear = max(e.linearMin, int64(float64(base-e.linearFrom)/e.linearGrade))
	if e.losses < e.upLosses {
		e.estimate = min(e.estimate, e.most)
		return
	}
	e.estimate = int64(float64(base) * e.decrement)
	e.losses, e.most, e.average = 0, 0, 0
}

// A rateLimit is what one receiver of the video takes.
type rateLimit struct {
	ssrc uint32
	rate int64
	at   time.Time
}

// A limitedSource is where video comes from and who can be told to send less.
type limitedSource interface {
	limit(ssrc uint32, rate int64, now time.Time)
}

// limit notes what a receiver takes of the peer's video.
func (t *mediaTransport) limit(ssrc uint32, rate int64, now time.Time) {
	t.statsMu.Lock()
	defer t.statsMu.Unlock()
	for i := range t.limits {
		if l := &t.limits[i]; l.ssrc == ssrc || now.Sub(l.at) > limitLife {
			*l = rateLimit{ssrc, rate, now}
			return
		}
	}
	t.limits = append(t.limits, rateLimit{ssrc, rate, now})
}

// lowestLimit is the least that any receiver takes, 0 without one. The lock of
// the counters is held.
func (t *mediaTransport) lowestLimit(now time.Time) int64 {
	var lowest int64
	for _, l := range t.limits {
		if now.Sub(l.at) <= limitLife && (lowest == 0 || l.rate < lowest) {
			lowest = l.rate
		}
	}
	return lowest
}

// estimate is the REMB packet for the peer's video, nil when there is nothing
// to say.
func (t *mediaTransport) estimate(sender uint32, receptions []rtcp.ReceptionReport, now time.Time) rtcp.Packet {
	t.statsMu.Lock()
	defer t.statsMu.Unlock()
	st := t.stream(t.announced)
	if t.remb == nil || st == nil {
		return nil
	}
	var fraction uint8
	for _, r := range receptions {
		if r.SSRC == st.ssrc {
			fraction = r.FractionLost
		}
	}
	if !t.remb.update(st, fraction, now) {
		return nil
	}
	rate := max(clamp(clamp(t.remb.estimate, 0, t.lowestLimit(now)), t.remb.minRecv, 0), rembLeast)
	return &rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: sender, Bitrate: float32(rate), SSRCs: []uint32{st.ssrc}}
}

// A receiverLimit is what is known of how much video the peer takes.
type receiverLimit struct {
	told   bool  // the source has been told the first limit
	last   int64 // the peer's last estimate
	probed bool
}

// received follows an estimate of the peer: until it has risen to the first
// limit, that holds.
func (r *receiverLimit) received(rate int64, s *rembSettings) int64 {
	out := rate
	if !r.probed {
		if rate < s.onConnect && rate >= r.last {
			out = s.onConnect
		} else {
			r.probed = true
		}
	}
	r.last = rate
	return clamp(out, s.minSend, s.maxSend)
}

// passEstimate tells the source of the video what the peer takes.
func (t *mediaTransport) passEstimate(p *rtcp.ReceiverEstimatedMaximumBitrate, now time.Time) {
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	o := &t.out[kindVideo]
	if len(p.SSRCs) == 0 || t.settings == nil {
		return
	}
	rate := o.limit.received(int64(p.Bitrate), t.settings)
	if source, ok := o.source.(limitedSource); ok {
		source.limit(p.SSRCs[0], rate, now)
	}
}

// tellFirstLimit tells the first source of the video what the peer takes before
// it has said so. The sender's lock is held.
func (t *mediaTransport) tellFirstLimit(o *outStream, p *packet) {
	if o.limit.told || t.settings == nil {
		return
	}
	o.limit.told = true
	if source, ok := p.from.(limitedSource); ok {
		source.limit(o.ssrc, clamp(t.settings.onConnect, t.settings.minSend, t.settings.maxSend), p.at)
	}
}
