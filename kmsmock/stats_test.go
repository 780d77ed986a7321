package kmsmock

import (
	"encoding/json"
	"testing"
)

// TestLatencyStats has the members and types that a real server gave every
// class of elements, before media came.
func TestLatencyStats(t *testing.T) {
	kms := dialServer(t)
	pipe := kms.create("MediaPipeline", nil)
	both := `[{"__module__":"kurento","__type__":"MediaLatencyStat","avg":0,"name":"sink_audio_default","type":"AUDIO"},` +
		`{"__module__":"kurento","__type__":"MediaLatencyStat","avg":0,"name":"sink_video_default","type":"VIDEO"}]`
	element := `{"__module__":"kurento","__type__":"ElementStats","inputLatency":`
	endpoint := `{"E2ELatency":[],"__module__":"kurento","__type__":"EndpointStats","inputLatency":[],"type":"endpoint"}`
	for class, want := range map[string]string{
		"PassThrough": element + both + `,"type":"element"}`, "WebRtcEndpoint": endpoint, "RtpEndpoint": endpoint,
	} {
		kms.invoke(pipe, "setLatencyStats", map[string]any{"latencyStats": false})
		o := kms.create(class, map[string]any{"mediaPipeline": pipe})
		if st := kms.invoke(o, "getStats", nil); st != nil {
			t.Errorf("%s without latencyStats: %v", class, st)
		}
		kms.invoke(pipe, "setLatencyStats", map[string]any{"latencyStats": true})
		for _, mediaType := range []string{"", "DATA"} {
			args := map[string]any{}
			if mediaType != "" {
				args["mediaType"] = mediaType
			}
			st, ok := kms.invoke(o, "getStats", args).(map[string]any)[o].(map[string]any)
			if !ok || st["id"] != o {
				t.Fatalf("%s: no statistics under its own id", class)
			}
			delete(st, "id")
			delete(st, "timestampMillis")
			if b, _ := json.Marshal(st); string(b) != want {
				t.Errorf("%s %s: %s, want %s", class, mediaType, b, want)
			}
		}
	}
	kms.value("release", map[string]any{"object": pipe})
}

// TestStatisticsKeepTheirIDs asks twice.
func TestStatisticsKeepTheirIDs(t *testing.T) {
	inRTPBubble(t, nil, func(kms *testClient, endpoint string, p *udpPeer) {
		p.aim(kms.invoke(endpoint, "processOffer", map[string]any{"offer": rtpOffer(40000)}).(string), "audio")
		p.play(50, true)
		first, second := kms.invoke(endpoint, "getStats", nil).(map[string]any), kms.invoke(endpoint, "getStats", nil).(map[string]any)
		for id := range first {
			if second[id] == nil {
				t.Errorf("no %s in the second statistics", id)
			}
		}
		if st := kms.invoke(endpoint, "getStats", map[string]any{"mediaType": "VIDEO"}); st != nil || len(first) != 2 {
			t.Errorf("statistics %v, of video %v", first, st)
		}
	})
}
