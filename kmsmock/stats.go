package kmsmock

import (
	"strconv"
	"strings"
	"time"
)

// getStats is null before there is media, then an object of statistics keyed
// by their ids, one for each RTP stream and data channel. A pipeline with
// latencyStats adds one of the element itself.
func getStats(c *call) (value, error) {
	wanted, out := c.str("mediaType"), object{}
	for _, st := range statsOf(c.obj, wanted) {
		st["timestampMillis"] = time.Now().UnixMilli()
		out[st["id"].(string)] = st
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

func statsOf(o *mediaObject, wanted string) []object {
	var all []object
	if ep, ok := o.impl.(*rtcEndpoint); ok {
		all = ep.streamStats(wanted)
		if ep.channels != nil && (wanted == "" || wanted == kindData.String()) {
			all = append(all, ep.channels.statistics()...)
		}
	}
	if e := elementOf(o); e != nil && o.pipeline().props["latencyStats"] == true {
		all = append(all, e.latencyStats(wanted))
	}
	return all
}

// latencyStats are the statistics of an element under the object's own id. The
// latencies themselves are always 0: media does not wait in here.
func (e *element) latencyStats(wanted string) object {
	inputs := e.latencies(wanted)
	if !e.obj.class.is("Endpoint") || e.isSource() {
		return kurentoStruct("ElementStats", object{"id": e.obj.id, "type": "element", "inputLatency": inputs})
	}
	return kurentoStruct("EndpointStats", object{
		"id": e.obj.id, "type": "endpoint", "inputLatency": inputs, "E2ELatency": e.latencies(wanted),
	})
}

// isSource tells whether nothing can be connected to the element.
func (e *element) isSource() bool {
	return e.obj.class.is("PlayerEndpoint") || e.obj.class.is("HttpPostEndpoint")
}

// latencies lists the media of an element: an endpoint's once it has got some,
// any other's from the beginning.
func (e *element) latencies(wanted string) array {
	out := array{}
	for _, k := range allKinds[:2] {
		switch {
		case e.isSource(), wanted != "" && wanted != kindData.String() && wanted != k.String():
			continue
		case e.obj.class.is("Endpoint") && e.in[k].last.Load() == 0:
			continue
		}
		out = append(out, kurentoStruct("MediaLatencyStat", object{
			"name": "sink_" + strings.ToLower(k.String()) + "_default", "type": k.String(), "avg": 0.0,
		}))
	}
	return out
}

func (t *mediaTransport) streamStats(wanted string) []object {
	var out []object
	name := func(id *string) string {
		if *id == "" {
			*id = t.ep.obj.srv.uuid()
		}
		return *id
	}
	t.statsMu.Lock()
	for _, st := range t.streams {
		if wanted == "" || wanted == st.kind.String() {
			s := st.stats()
			s["id"] = name(&st.id)
			out = append(out, s)
		}
	}
	t.statsMu.Unlock()
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	for i := range t.out {
		o, k := &t.out[i], mediaKind(i)
		if o.packets > 0 && (wanted == "" || wanted == k.String()) {
			s := t.outStats(o, k)
			s["id"] = name(&o.id)
			out = append(out, s)
		}
	}
	return out
}

func (st *inStream) stats() object {
	s := rtpStats("RTCInboundRTPStreamStats", "inboundrtp", st.ssrc)
	s["packetsReceived"], s["bytesReceived"] = int64(st.packets), int64(st.bytes)
	s["packetsLost"], s["jitter"] = st.lost(), st.jitter/float64(st.clock)
	return s
}

func (t *mediaTransport) outStats(o *outStream, k mediaKind) object {
	s := rtpStats("RTCOutboundRTPStreamStats", "outboundrtp", o.ssrc)
	s["packetsSent"], s["bytesSent"] = int64(o.packets), int64(o.bytes)
	s["roundTripTime"], s["targetBitrate"] = o.trip, 0.0
	if k == kindVideo {
		s["firCount"], s["pliCount"], s["nackCount"] = t.firs.Load(), t.plis.Load(), t.nacks.Load()
	}
	return s
}

func rtpStats(typeName, kind string, ssrc uint32) object {
	return kurentoStruct(typeName, object{
		"type": kind, "ssrc": strconv.FormatUint(uint64(ssrc), 10), "isRemote": false,
		"associateStatsId": "", "codecId": "", "mediaTrackId": "", "transportId": "",
		"firCount": 0, "pliCount": 0, "nackCount": 0, "sliCount": 0, "remb": 0,
		"packetsLost": 0, "fractionLost": 0.0,
	})
}
