package kmsmock

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"sync"

	"github.com/pion/datachannel"
	"github.com/pion/dtls/v3"
	"github.com/pion/sctp"
)

// maxChannelMessage is the longest data channel message that is handed on, in bytes.
const maxChannelMessage = 256 << 10

// maxChannelBacklog is how much may wait for a peer that receives slowly, in
// bytes: as much as Chromium queues before send fails. Kurento's queue has no
// bound. A message beyond it is lost, on a reliable channel too, and the log
// says so: to hold it would hold up all that its sender has for others.
const maxChannelBacklog = 16 << 20

// A dataSession carries the data channels of an endpoint: SCTP over its DTLS
// connection. Its state is guarded by the server's lock. However many channels
// a peer opens, the pipeline gets the messages of one: Kurento closes every
// other at once.
type dataSession struct {
	ep        *rtcEndpoint
	transport *mediaTransport
	gst       string // GStreamer's name of the SCTP encoder
	id        string // of its statistics
	even      bool   // this side's channels have even numbers: it opens DTLS
	assoc     *sctp.Association
	pending   []*dataChannel // asked for before there was an association
	channels  []*dataChannel // in the order of opening
	used      *dataChannel   // the one that the pipeline uses
	opened    int64
	closed    int64
}

// A dataChannel is one channel of either side.
type dataChannel struct {
	number uint16
	uuid   string // of its statistics
	state  string // as in the statistics
	config datachannel.Config
	broken bool         // an empty message has ended it for the pipeline
	stream *sctp.Stream // nil until it is on the wire
	stats  channelStats
}

type channelStats struct{ messagesIn, bytesIn, messagesOut, bytesOut int64 }

func newDataSession(t *mediaTransport) *dataSession {
	s := t.ep.obj.srv
	return &dataSession{ep: t.ep, transport: t, gst: s.gstName("sctpenc_"), id: s.uuid()}
}

// A dtlsStream is a DTLS connection as SCTP uses it: SCTP does not close it,
// and its end is told apart from the end of an SCTP stream.
type dtlsStream struct {
	*dtls.Conn
	over chan struct{} // closed when the peer has closed DTLS
	once sync.Once
}

func (c *dtlsStream) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.once.Do(func() { close(c.over) })
		return n, net.ErrClosed
	}
	return n, nil
}

func (c *dtlsStream) Close() error { return nil }

func (c *dtlsStream) ended() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// run is the life of the association. It returns when that or DTLS is over.
func (d *dataSession) run(dconn *dtls.Conn, client bool) {
	conn := &dtlsStream{Conn: dconn, over: make(chan struct{})}
	assoc, err := sctp.ClientContext(d.transport.ctx, sctp.WithNetConn(conn), sctp.WithName(d.gst),
		sctp.WithMaxMessageSize(maxChannelMessage), sctp.WithLoggerFactory(quiet{}))
	if err != nil {
		return
	}
	var readers sync.WaitGroup
	d.begin(assoc, client, &readers)
	for {
		stream, err := assoc.AcceptStream()
		if err != nil {
			break
		}
		if ch := d.incoming(stream.StreamIdentifier()); ch != nil {
			readers.Go(func() { d.serve(ch, stream) })
		}
	}
	_ = assoc.Close()
	readers.Wait()
	if !conn.ended() {
		d.aborted()
	}
}

// begin opens the channels that were asked for meanwhile. Their readers end
// with the association.
func (d *dataSession) begin(assoc *sctp.Association, client bool, readers *sync.WaitGroup) {
	s := d.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	d.assoc, d.even = assoc, client
	pending := d.pending
	d.pending = nil
	// Kurento numbers them before it knows of each other: the last one wins.
	if n := len(pending); n > 0 {
		ch := pending[n-1]
		ch.number = d.pick()
		d.open(ch, func(f func()) { readers.Go(f) })
	}
}

// lastNumbers are the highest of both sides; 65535 is none (RFC 8832, 6).
const lastNumbers = math.MaxUint16 - 2

// pick is the next free number of this side, the last one if none is free,
// which cannot be opened again. The lock is held.
func (d *dataSession) pick() uint16 {
	taken := map[uint16]bool{}
	for _, ch := range d.channels {
		taken[ch.number] = true
	}
	n := uint16(1)
	if d.even {
		n = 0
	}
	for n < lastNumbers && taken[n] {
		n += 2
	}
	return n
}

// open announces a channel to the peer. The lock is held.
func (d *dataSession) open(ch *dataChannel, spawn func(func())) {
	stream, err := d.assoc.OpenStream(ch.number, sctp.PayloadTypeWebRTCBinary)
	if err != nil {
		return
	}
	if _, err := datachannel.Client(stream, &ch.config); err != nil {
		return
	}
	ch.state, ch.stream = "connecting", stream
	d.channels = append(d.channels, ch)
	spawn(func() { d.read(ch) })
}

// incoming makes a channel of the peer's, nil if its number is none of the peer's.
func (d *dataSession) incoming(number uint16) *dataChannel {
	s := d.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if number == math.MaxUint16 || (number%2 == 0) == d.even {
		return nil
	}
	ch := &dataChannel{number: number, uuid: s.uuid(), state: "closed", config: datachannel.Config{LoggerFactory: quiet{}}}
	d.channels = append(d.channels, ch)
	return ch
}

// serve answers the peer's request to open a channel and reads what comes.
func (d *dataSession) serve(ch *dataChannel, stream *sctp.Stream) {
	stream.SetDefaultPayloadType(sctp.PayloadTypeWebRTCBinary)
	if _, err := datachannel.Server(stream, &ch.config); err != nil {
		_ = stream.Close()
		d.gone(ch)
		return
	}
	s := d.ep.obj.srv
	s.mu.Lock()
	ch.stream = stream
	s.mu.Unlock()
	d.negotiated(ch)
	d.read(ch)
}

// negotiated gives the channel to the pipeline, or closes it if that has one.
// Kurento reports the opening twice.
func (d *dataSession) negotiated(ch *dataChannel) {
	s := d.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.ep.closed {
		return
	}
	d.opened++
	ch.state = "open"
	if d.used != nil {
		d.shut(ch)
		return
	}
	d.used = ch
	d.report("DataChannelOpened", ch)
}

func (d *dataSession) report(eventType string, ch *dataChannel) {
	for range 2 {
		d.ep.obj.srv.emit(d.ep.obj, eventType, object{"channelId": int64(ch.number)})
	}
}

// shut closes a channel from this side: the peer answers by closing its half,
// with which the channel is gone. The lock is held.
func (d *dataSession) shut(ch *dataChannel) {
	ch.state = "closing"
	if ch.stream != nil {
		_ = ch.stream.Close()
	}
}

// dcepAck is the type of the message that confirms a channel (RFC 8832).
const dcepAck = 2

func (d *dataSession) read(ch *dataChannel) {
	buf := make([]byte, maxChannelMessage)
	for {
		n, ppid, err := ch.stream.ReadSCTP(buf)
		switch {
		case errors.Is(err, io.ErrShortBuffer):
		case errors.Is(err, io.EOF):
			_ = ch.stream.Close()
			d.gone(ch)
			return
		case err != nil:
			return
		case ppid != sctp.PayloadTypeWebRTCDCEP:
			d.received(ch, buf[:n], ppid)
		case n > 0 && buf[0] == dcepAck:
			ch.confirmed()
			d.negotiated(ch)
		}
	}
}

// confirmed lets the channel be as unreliable as its peer now knows.
func (ch *dataChannel) confirmed() {
	unordered := ch.config.ChannelType&datachannel.ChannelTypeReliableUnordered != 0
	// The other bits are the numbers of SCTP's own types.
	ch.stream.SetReliabilityParams(unordered, byte(ch.config.ChannelType&^datachannel.ChannelTypeReliableUnordered),
		ch.config.ReliabilityParameter)
}

// gone forgets a channel that is closed in both directions.
func (d *dataSession) gone(ch *dataChannel) {
	s := d.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	d.channels = slices.DeleteFunc(d.channels, func(x *dataChannel) bool { return x == ch })
	d.closed++
	if d.used != ch || d.ep.closed {
		return
	}
	d.used = nil
	d.report("DataChannelClosed", ch)
}

// received sends a message of the peer through the pipeline.
func (d *dataSession) received(ch *dataChannel, message []byte, ppid sctp.PayloadProtocolIdentifier) {
	size := int64(len(message))
	if ppid == sctp.PayloadTypeWebRTCStringEmpty || ppid == sctp.PayloadTypeWebRTCBinaryEmpty {
		size = 0
	}
	s := d.ep.obj.srv
	s.mu.Lock()
	ch.stats.messagesIn++
	ch.stats.bytesIn += size
	var out []*sctp.Stream
	if ch == d.used && !ch.broken && !d.ep.closed {
		for _, sink := range d.ep.dataSinks(nil) {
			to := sink.channels.used
			switch {
			case to == nil:
			case to.stream.BufferedAmount()+uint64(size) > maxChannelBacklog:
				s.log.Warn("kms.data.lost", "object", sink.obj.id, "channel", to.number, "bytes", size)
			default:
				to.stats.messagesOut++
				to.stats.bytesOut += size
				out = append(out, to.stream)
			}
		}
	}
	if size == 0 && len(out) > 0 {
		ch.broken, out = true, nil
		d.ep.reportFailure(1, "STREAM_ERROR_FAILED", "Internal data stream error.", fmt.Sprintf("appsrc_stream_%d", ch.number),
			"streaming stopped, reason error (-5)")
	}
	s.mu.Unlock()
	for _, stream := range out {
		_, _ = stream.WriteSCTP(message, ppid)
	}
}

// dataSinks are the endpoints with data channels that the element's DATA
// reaches, through whatever lies between. The lock is held.
func (e *element) dataSinks(seen []*element) []*rtcEndpoint {
	var out []*rtcEndpoint
	seen = append(seen, e)
	for _, l := range e.outgoing[kindData] {
		ep, isEndpoint := l.sink.obj.impl.(*rtcEndpoint)
		switch {
		case isEndpoint && ep.channels != nil:
			out = append(out, ep)
		case !isEndpoint && l.sink.port == nil && !slices.Contains(seen, l.sink):
			out = append(out, l.sink.dataSinks(seen)...)
		}
	}
	return out
}

// aborted reports that the peer ended SCTP without a word on its channels.
func (d *dataSession) aborted() {
	s := d.ep.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.ep.closed || d.transport.ctx.Err() != nil {
		return
	}
	d.ep.reportFailure(10, "RESOURCE_ERROR_WRITE", "Could not write to resource.", d.gst, "SCTP association went into error state")
}

func errNoDataChannels() error {
	return failf(40111, "MEDIA_OBJECT_OPERATION_NOT_SUPPORTED", "Data channels are not supported")
}

// channelArguments are the parameters of createDataChannel in their order. Like
// every optional parameter one counts only if those before it were given.
var channelArguments = []string{"label", "ordered", "maxPacketLifeTime", "maxRetransmits", "protocol"}

func channelConfig(c *call) (datachannel.Config, error) {
	args := object{"label": "", "ordered": true, "maxPacketLifeTime": int64(-1), "maxRetransmits": int64(-1), "protocol": ""}
	for _, name := range channelArguments {
		if _, ok := c.given[name]; !ok {
			break
		}
		args[name] = c.args[name]
	}
	life, retransmits := args["maxPacketLifeTime"].(int64), args["maxRetransmits"].(int64)
	config := datachannel.Config{Label: args["label"].(string), Protocol: args["protocol"].(string), LoggerFactory: quiet{}}
	switch {
	case life >= 0 && retransmits >= 0:
		return config, failf(40107, "MEDIA_OBJECT_ILLEGAL_PARAM_ERROR", "Syntax error")
	case life >= 0:
		config.ChannelType, config.ReliabilityParameter = datachannel.ChannelTypePartialReliableTimed, uint32(min(life, math.MaxUint16))
	case retransmits >= 0:
		config.ChannelType, config.ReliabilityParameter = datachannel.ChannelTypePartialReliableRexmit, uint32(min(retransmits, math.MaxUint16))
	}
	if args["ordered"] == false {
		config.ChannelType |= datachannel.ChannelTypeReliableUnordered
	}
	return config, nil
}

func createDataChannel(c *call) (value, error) {
	ep := endpointOf(c.obj)
	if ep.channels == nil {
		return nil, errNoDataChannels()
	}
	config, err := channelConfig(c)
	if err != nil {
		return nil, err
	}
	d := ep.channels
	ch := &dataChannel{number: d.pick(), uuid: c.srv.uuid(), state: "closed", config: config}
	if d.assoc == nil {
		d.pending = append(d.pending, ch)
		return nil, nil
	}
	d.open(ch, c.srv.spawn)
	return nil, nil
}

// closeDataChannel closes a channel, and does nothing if there is none of that number.
func closeDataChannel(c *call) (value, error) {
	ep := endpointOf(c.obj)
	if ep.channels == nil {
		return nil, errNoDataChannels()
	}
	number := c.args["channelId"].(int64)
	for _, ch := range ep.channels.channels {
		if int64(ch.number) == number && ch.state != "closing" {
			ep.channels.shut(ch)
		}
	}
	return nil, nil
}

// statistics describe the session and its channels.
func (d *dataSession) statistics() []object {
	var out []object
	for _, ch := range d.channels {
		out = append(out, ch.statistics())
	}
	if n := len(d.pending); n > 0 {
		out = append(out, d.pending[0].statistics())
	}
	return append(out, kurentoStruct("RTCPeerConnectionStats", object{
		"id": d.id, "type": "session", "dataChannelsOpened": d.opened, "dataChannelsClosed": d.closed,
	}))
}

func (ch *dataChannel) statistics() object {
	return kurentoStruct("RTCDataChannelStats", object{
		"id": ch.uuid, "type": "datachannel", "datachannelid": int64(ch.number), "label": ch.config.Label,
		"protocol": ch.config.Protocol, "state": ch.state, "messagesReceived": ch.stats.messagesIn,
		"bytesReceived": ch.stats.bytesIn, "messagesSent": ch.stats.messagesOut, "bytesSent": ch.stats.bytesOut,
	})
}
