package kmsmock

import (
	"strconv"
	"time"
)

// getStats is null before there is media, then an object of statistics keyed
// by their ids, one for each RTP stream.
func getStats(c *call) (value, error) {
	ep, ok := c.obj.impl.(*rtcEndpoint)
	if !ok {
		return nil, nil
	}
	wanted := c.str("mediaType")
	out := object{}
	all := ep.streamStats(wanted)
	if ep.channels != nil {
		all = append(all, ep.channels.statistics()...)
	}
	for _, st := range all {
		id, ok := st["id"].(string)
		if !ok {
			id = c.srv.uuid()
		}
		st["id"], st["timestampMillis"] = id, time.Now().UnixMilli()
		out[id] = st
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

func (t *mediaTransport) streamStats(wanted string) []object {
	var out []object
	t.statsMu.Lock()
	for _, st := range t.streams {
		if wanted == "" || wanted == st.kind.String() {
			out = append(out, st.stats())
		}
	}
	t.statsMu.Unlock()
	t.sendMu.Lock()
	defer t.sendMu.Unlock()
	for i := range t.out {
		o, k := &t.out[i], mediaKind(i)
		if o.packets > 0 && (wanted == "" || wanted == k.String()) {
			out = append(out, t.outStats(o, k))
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
