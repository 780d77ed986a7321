package kmsmock

import (
	"crypto/tls"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
)

// An rtcEndpoint is the behaviour of a WebRtcEndpoint. Everything in it is
// guarded by the server's lock, except media, which has its own rules.
type rtcEndpoint struct {
	*element
	direction string
	data      bool
	keyType   string
	cert      tls.Certificate
	id        transportID
	local     *description
	remote    *sdpText
	refused   *sdpText // an offer that there is no answer to
	offered   bool     // this side made the offer
	answered  bool

	queued     []object // remote candidates that came before any description
	candidates int      // IceCandidateFound events so far
	media      *mediaTransport
	streams    []*mediaTransport // media, and one more for each m-line outside the bundle
	carriers   [2]atomic.Pointer[mediaTransport]
	rtp        *rtpSession  // of an RtpEndpoint, else nil
	channels   *dataSession // nil without data channels
	presence   presence
	doom       doom // of the handshake
}

func buildWebRtcEndpoint(o *mediaObject, args object) error {
	s := o.srv
	cert, fingerprint, err := s.certificate(args["certificateKeyType"].(string))
	if err != nil {
		return err
	}
	ep := &rtcEndpoint{
		element: newElement(o, "kmswebrtcendpoint"), direction: "sendrecv", keyType: args["certificateKeyType"].(string),
		data: args["useDataChannels"] == true, cert: cert,
	}
	switch {
	case args["sendonly"] == true:
		ep.direction = "sendonly"
	case args["recvonly"] == true:
		ep.direction = "recvonly"
	}
	ep.id = transportID{
		ufrag: s.token(4), pwd: s.token(22), fingerprint: fingerprint,
		cname: fmt.Sprintf("user%d@host-%x", s.rand.Uint32(), s.rand.Uint32()),
	}
	ep.media = newMediaTransport(ep, 1, "bundle", iceSecret{ep.id.ufrag, ep.id.pwd})
	ep.streams = []*mediaTransport{ep.media}
	ep.port = streamsPort{ep}
	for k := range ep.carriers {
		ep.carriers[k].Store(ep.media)
	}
	o.impl = ep
	return nil
}

// token makes a string of the characters that ICE allows.
func (s *Server) token(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[s.rand.IntN(len(alphabet))]
	}
	return string(b)
}

func endpointOf(o *mediaObject) *rtcEndpoint { return o.impl.(*rtcEndpoint) }

func errSDP(text string) error { return failf(40201, "SDP_PARSE_ERROR", "%s", text) }

func errNegotiated() error {
	return failf(40208, "SDP_END_POINT_ALREADY_NEGOTIATED", "Endpoint already negotiated")
}

func processOffer(c *call) (value, error) {
	text := c.str("offer")
	if text == "" {
		return nil, errSDP("Empty offer not valid")
	}
	offer, err := parseSDP(text)
	if err != nil {
		return nil, err
	}
	ep := endpointOf(c.obj)
	if ep.local != nil {
		return nil, errNegotiated()
	}
	if ep.refused != nil {
		return nil, errOffer() // Kurento is stuck with the first
	}
	if err := ep.answer(offer); err != nil {
		ep.refused = offer
		return nil, err
	}
	c.srv.wait(c.srv.pace.negotiation(c.srv))
	if ep.closed {
		return nil, errNotFound(c.obj.id)
	}
	ep.negotiated(offer, ep.local)
	return ep.localText(), nil
}

// negotiated starts the session once both descriptions are known. chosen are
// the codecs as the answer lists them.
func (ep *rtcEndpoint) negotiated(remote *sdpText, chosen *description) {
	ep.remote = remote
	s := ep.obj.srv
	if ep.rtp != nil {
		ep.rtp.start(remote, chosen)
		s.emit(ep.obj, "MediaSessionStarted", object{})
		return
	}
	for _, t := range ep.streams {
		t.setup(chosen)
		if ep.offered {
			t.beginDTLS()
		}
		t.setRemote(remote)
	}
	for i, m := range chosen.media {
		if t := ep.carrier(i); m.kind == "application" && m.accepted && t != nil && ep.channels == nil {
			ep.channels = newDataSession(t)
		}
	}
	for _, candidate := range ep.queued {
		_ = ep.addCandidate(candidate)
	}
	ep.queued = nil
	for i, m := range remote.media {
		var candidates []string
		for _, a := range m.attrs {
			if strings.HasPrefix(a, "candidate:") && i < len(ep.local.media) && !ep.local.media[i].rejected {
				ep.addRemote(i, a)
				if strings.Contains(a, ".local ") {
					continue // a name that nobody resolves
				}
				candidates = append(candidates, a)
			}
		}
		// Kurento adds them to where they already are, for each component.
		m.attrs = append(append(m.attrs, candidates...), candidates...)
	}
	s.emit(ep.obj, "MediaSessionStarted", object{})
}

// answer describes the answer to an offer.
func (ep *rtcEndpoint) answer(offer *sdpText) error {
	if ep.rtp != nil {
		local, err := ep.rtp.answer(offer)
		if err == nil {
			ep.local = local
		}
		return err
	}
	local, err := ep.obj.srv.answerTo(offer, ep.data)
	if err != nil {
		return err
	}
	ep.local = local
	ep.divide()
	return nil
}

// offer describes an offer of this side's.
func (ep *rtcEndpoint) offer(audio, video bool) (err error) {
	switch {
	case ep.refused != nil:
		return failf(40204, "SDP_END_POINT_GENERATE_OFFER_ERROR", "Error generating offer")
	case ep.rtp != nil:
		if ep.local, err = ep.rtp.offer(audio, video); err != nil {
			return err
		}
	default:
		ep.local = ep.obj.srv.newOffer(audio, video, ep.data, ep.direction)
		ep.divide()
	}
	for _, m := range ep.local.media {
		m.bandwidth = ep.recvBandwidth(m.kind)
	}
	return nil
}

// recvBandwidth is the limit for a medium that offers name, in kbit/s, 0 for none.
func (ep *rtcEndpoint) recvBandwidth(kind string) int {
	property := map[string]string{"audio": "maxAudioRecvBandwidth", "video": "maxVideoRecvBandwidth"}[kind]
	limit, _ := ep.obj.props[property].(int64)
	return int(limit)
}

// localText is the local description as it stands now.
func (ep *rtcEndpoint) localText() string {
	if ep.rtp != nil {
		return ep.rtp.text(ep.local)
	}
	return ep.local.text(ep.id, ep.known())
}

func generateOffer(c *call) (value, error) {
	ep := endpointOf(c.obj)
	if ep.local != nil {
		return nil, errNegotiated()
	}
	audio, video := true, true
	if options, ok := c.args["options"].(object); ok {
		audio, video = options["offerToReceiveAudio"] != false, options["offerToReceiveVideo"] != false
	}
	if err := ep.offer(audio, video); err != nil {
		return nil, err
	}
	ep.offered = true
	c.srv.wait(c.srv.pace.negotiation(c.srv))
	return ep.localText(), nil
}

func processAnswer(c *call) (value, error) {
	ep, text := endpointOf(c.obj), c.str("answer")
	switch {
	case text == "":
		return nil, errSDP("Empty answer not valid")
	case !ep.offered:
		return nil, failf(40209, "SDP_END_POINT_NOT_OFFER_GENERATED",
			"Offer not generated. It is not possible to process an answer.")
	case ep.answered:
		return nil, failf(40210, "SDP_END_POINT_ANSWER_ALREADY_PROCCESED", "Sdp Answer already processed")
	}
	answer, err := parseSDP(text)
	if err != nil {
		return nil, err
	}
	if len(answer.media) > len(ep.local.media) {
		c.srv.crash("processAnswer with more media than were offered")
		return nil, nil
	}
	ep.answered = true
	ep.negotiated(answer, ep.chosenBy(answer))
	return ep.localText(), nil
}

// chosenBy pairs the m-lines of this side's offer with the answer's codecs.
func (ep *rtcEndpoint) chosenBy(answer *sdpText) *description {
	out := &description{}
	for i, m := range ep.local.media {
		chosen := *m
		if i < len(answer.media) {
			kept := keptCodecs
			if ep.rtp != nil {
				kept = rtpCodecs
			}
			chosen.codecs = answer.media[i].codecsAmong(kept[m.kind])
			chosen.accepted = answer.media[i].port != 0
		}
		out.media = append(out.media, &chosen)
	}
	return out
}

func getLocalDescription(c *call) (value, error) {
	ep := endpointOf(c.obj)
	if ep.local == nil {
		return nil, failf(40202, "SDP_END_POINT_NO_LOCAL_SDP_ERROR", "No local SDP")
	}
	return ep.localText(), nil
}

func getRemoteDescription(c *call) (value, error) {
	ep := endpointOf(c.obj)
	if ep.remote == nil && ep.refused != nil {
		return ep.refused.String(), nil
	}
	if ep.remote == nil {
		return nil, failf(40203, "SDP_END_POINT_NO_REMOTE_SDP_ERROR", "No remote SDP")
	}
	return ep.remote.String(), nil
}

// release ends the endpoint. Its peer gets no DTLS close and no ICE goodbye.
func (ep *rtcEndpoint) release() func() {
	ep.element.release()
	ep.presence.stop()
	for _, t := range ep.streams {
		t.ice.stop()
	}
	return func() {
		for _, t := range ep.streams {
			t.stop()
		}
		if ep.rtp != nil {
			ep.rtp.close()
		}
	}
}

func requestKeyframe(c *call) (value, error) {
	source := endpointOf(c.obj).carriers[kindVideo].Load().videoSource()
	if source == nil {
		return nil, failf(40111, "MEDIA_OBJECT_OPERATION_NOT_SUPPORTED",
			"Keyframe request failed (must be requested from a subscriber element)")
	}
	source.requestKeyFrame()
	return nil, nil
}

func getMediaState(o *mediaObject) (value, error) { return endpointOf(o).presence.mediaState(), nil }
func getConnectionState(o *mediaObject) (value, error) {
	return endpointOf(o).presence.connectionState(), nil
}

// rembDefaults fill what a client left out once it has set any of them. The
// odd figures are 32-bit floats.
func rembDefaults() object {
	return object{
		"packetsRecvIntervalTop": int64(100), "exponentialFactor": float32(0.04), "linealFactorMin": int64(100),
		"linealFactorGrade": float32(30), "decrementFactor": float32(0.5), "thresholdFactor": float32(0.8),
		"upLosses": int64(12), "rembOnConnect": int64(300000),
	}
}

func getRembParams(o *mediaObject) (value, error) {
	out := object{}
	if set, ok := o.props["rembParams"].(object); ok {
		out = rembDefaults()
		if n, ok := set["packetsRecvIntervalTop"]; ok {
			out["linealFactorMin"] = n // a mistake of Kurento's
		}
		for k, v := range set {
			out[k] = v
		}
	}
	return kurentoStruct("RembParams", out), nil
}

func setRembParams(o *mediaObject, v value) error {
	o.props["rembParams"] = v
	return nil
}

func getNetworkInterfaces(o *mediaObject) (value, error) {
	if set, ok := o.props["networkInterfaces"]; ok {
		return set, nil
	}
	return strings.Join(o.srv.cfg.Interfaces, ","), nil
}

// crashOnGetIceTCP imitates an abort of Kurento's own.
func crashOnGetIceTCP(o *mediaObject) (value, error) {
	return true, o.srv.accident("getIceTcp", nil)
}

// turnURL is the expression by which Kurento judges a TURN URL: no host names,
// no turn: prefix that it would understand.
var turnURL = regexp.MustCompile(`^(.+):(.+)@([0-9.]+):([0-9]+)(\?transport=(udp|tcp|tls))?$`)

// setTurnURL keeps any text. One that Kurento cannot use is reported in an
// event, which repeats the whole URL, password and all.
func setTurnURL(o *mediaObject, v value) error {
	o.props["turnUrl"] = v
	url := v.(string)
	if url == "" || turnURL.MatchString(url) {
		return nil
	}
	ep := endpointOf(o)
	ep.reportError(13, "UNEXPECTED_ELEMENT_ERROR", fmt.Sprintf("URL '%s' not allowed. It must have this format: "+
		"'user:password@address:port(?transport=[udp|tcp|tls])'", url), strings.Replace(ep.gst, "endpoint", "session", 1))
	return nil
}

// reportError sends an Error event as a GStreamer element makes it.
func (ep *rtcEndpoint) reportError(code int, kind, what, source string) {
	ep.reportFailure(code, kind, what, source, what)
}

// reportFailure is reportError with a debug text of its own.
func (ep *rtcEndpoint) reportFailure(code int, kind, what, source, debug string) {
	text := fmt.Sprintf("Error code %d: %s, source: %s, element: %s, debug info: %s", code, what, source, ep.gst, debug)
	ep.obj.srv.emit(ep.obj, "Error", object{"description": text, "errorCode": code, "type": kind})
}
