package kmsmock

import (
	"fmt"
	"strconv"
)

// The two halves of an endpoint's DTLS-SRTP, in the order in which Kurento
// lists them.
const (
	partDec = iota
	partEnc
)

// dtlsParts are the names of the halves behind that of the connection.
var dtlsParts = [...]string{"dtlssrtpdec", "dtlssrtpenc"}

func (t *mediaTransport) dtlsConnection(part int) object {
	return object{
		"componentId": "[" + t.name + "/" + dtlsParts[part] + "]", "streamId": strconv.Itoa(t.id), "state": t.dtlsState[part],
		"connectionId": fmt.Sprintf("dtlssrtpenc%d-dtlssrtpdec%d-%d-1", t.dtlsIndex, t.dtlsIndex, t.id),
	}
}

// beginDTLS numbers the DTLS connection: an offerer's once it has its answer,
// an answerer's once ICE is connected.
func (t *mediaTransport) beginDTLS() {
	t.dtlsIndex = t.ep.obj.srv.dtlsCount
	t.ep.obj.srv.dtlsCount++
	t.dtls(partEnc, "NEW")
}

// dtls changes the state of one half and reports it.
func (t *mediaTransport) dtls(part int, state string) {
	t.dtlsState[part] = state
	t.ep.obj.srv.emit(t.ep.obj, "DtlsConnectionStateChange", t.dtlsConnection(part))
}

func getDtlsConnectionState(o *mediaObject) (value, error) {
	out := array{}
	for _, t := range endpointOf(o).streams {
		for part, state := range t.dtlsState {
			if state != "" {
				out = append(out, kurentoStruct("DtlsConnection", t.dtlsConnection(part)))
			}
		}
	}
	return out, nil
}

// dtlsFailed reports a handshake that broke, with the two errors of GStreamer
// that come with it.
func (t *mediaTransport) dtlsFailed() {
	t.dtls(partDec, "FAILED")
	t.dtls(partEnc, "FAILED")
	t.ep.reportError(1, "STREAM_ERROR_FAILED", "Internal data stream error.", "nicesrc0")
	t.ep.reportError(9, "UNEXPECTED_ELEMENT_ERROR", "Could not read from resource.", "dtlsdec0")
}
