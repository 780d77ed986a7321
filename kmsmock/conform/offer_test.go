package conform

import "testing"

func TestSectionsOfABrokenOffer(t *testing.T) {
	const offer = "v=0\r\nm=\r\nm=audio\r\nm=audio 9 UDP/TLS/RTP/SAVPF\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n"
	if got := sections(offer); len(got) != 1 || got[0].kind != "video" || len(got[0].codecs) != 1 {
		t.Errorf("sections %+v, want the video alone", got)
	}
}
