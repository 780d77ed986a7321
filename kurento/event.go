package kurento

import (
	"fmt"
	"strconv"
	"time"

	"github.com/goccy/go-json"
)

// Event is one notification of KMS about an object.
type Event struct {
	// Object is the object that was subscribed to.
	Object ObjectID
	// Type is the type that was subscribed to. (The data of an Error event
	// carry the name of the error as a type of their own.)
	Type EventType
	// Data is the event's body as KMS sent it.
	Data json.RawMessage
}

// Decode returns the typed body: a value (not a pointer) of the type of this
// package that is named like the event, or ErrorRaised. It fails for a type
// that is not among them and for data that do not fit: use Data then.
func (e Event) Decode() (any, error) {
	decode, ok := eventDecoders[e.Type]
	if !ok {
		return nil, fmt.Errorf("kurento: no type for event %q", e.Type)
	}
	body, err := decode(e.Data)
	if err != nil {
		return nil, fmt.Errorf("kurento: event %s: %w", e.Type, err)
	}
	return body, nil
}

// EventType names an event, as used in subscriptions.
type EventType string

// Events of KMS 7. The names of KMS 6 (OnIceCandidate, …) are refused by it
// with CodeEventNotSupported.
const (
	EventError                        EventType = "Error"
	EventIceCandidateFound            EventType = "IceCandidateFound"
	EventIceGatheringDone             EventType = "IceGatheringDone"
	EventIceComponentStateChanged     EventType = "IceComponentStateChanged"
	EventNewCandidatePairSelected     EventType = "NewCandidatePairSelected"
	EventDtlsConnectionStateChange    EventType = "DtlsConnectionStateChange"
	EventConnectionStateChanged       EventType = "ConnectionStateChanged"
	EventMediaStateChanged            EventType = "MediaStateChanged"
	EventMediaSessionStarted          EventType = "MediaSessionStarted"
	EventMediaSessionTerminated       EventType = "MediaSessionTerminated"
	EventMediaFlowInStateChanged      EventType = "MediaFlowInStateChanged"
	EventMediaFlowOutStateChanged     EventType = "MediaFlowOutStateChanged"
	EventMediaTranscodingStateChanged EventType = "MediaTranscodingStateChanged"
	EventElementConnected             EventType = "ElementConnected"
	EventElementDisconnected          EventType = "ElementDisconnected"
	EventDataChannelOpened            EventType = "DataChannelOpened"
	EventDataChannelClosed            EventType = "DataChannelClosed"
	EventUriEndpointStateChanged      EventType = "UriEndpointStateChanged"
	EventEndOfStream                  EventType = "EndOfStream"
	EventRecording                    EventType = "Recording"
	EventPaused                       EventType = "Paused"
	EventStopped                      EventType = "Stopped"
	EventObjectCreated                EventType = "ObjectCreated"   // of the ServerManager only
	EventObjectDestroyed              EventType = "ObjectDestroyed" // of the ServerManager only
)

// EventMeta is what every event carries.
type EventMeta struct {
	// Source is the object that raised the event.
	Source ObjectID `json:"source"`
	// Time is the clock of KMS, in milliseconds.
	Time Timestamp `json:"timestampMillis"`
	// Tags of the source, empty unless its sendTagsInEvents was set.
	Tags []Tag `json:"tags"`
}

// Tag is a label of an object.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Timestamp is an instant in milliseconds since 1970, which KMS writes as a
// string in events and as a number in statistics.
type Timestamp int64

// Time returns the instant.
func (t Timestamp) Time() time.Time { return time.UnixMilli(int64(t)) }

// UnmarshalJSON accepts a number, bare or in quotes.
func (t *Timestamp) UnmarshalJSON(data []byte) error {
	if n := len(data); n >= 2 && data[0] == '"' {
		data = data[1 : n-1]
	}
	ms, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil {
		return fmt.Errorf("timestamp: %w", err)
	}
	*t = Timestamp(ms)
	return nil
}

// MarshalJSON writes the timestamp as events have it, in quotes.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	return append(strconv.AppendInt([]byte{'"'}, int64(t), 10), '"'), nil
}

// eventDecoders is the table behind Event.Decode.
var eventDecoders = map[EventType]func(json.RawMessage) (any, error){
	EventError:                        decodeAs[ErrorRaised],
	EventIceCandidateFound:            decodeAs[IceCandidateFound],
	EventIceGatheringDone:             decodeAs[IceGatheringDone],
	EventIceComponentStateChanged:     decodeAs[IceComponentStateChanged],
	EventNewCandidatePairSelected:     decodeAs[NewCandidatePairSelected],
	EventDtlsConnectionStateChange:    decodeAs[DtlsConnectionStateChange],
	EventConnectionStateChanged:       decodeAs[ConnectionStateChanged],
	EventMediaStateChanged:            decodeAs[MediaStateChanged],
	EventMediaSessionStarted:          decodeAs[MediaSessionStarted],
	EventMediaSessionTerminated:       decodeAs[MediaSessionTerminated],
	EventMediaFlowInStateChanged:      decodeAs[MediaFlowInStateChanged],
	EventMediaFlowOutStateChanged:     decodeAs[MediaFlowOutStateChanged],
	EventMediaTranscodingStateChanged: decodeAs[MediaTranscodingStateChanged],
	EventElementConnected:             decodeAs[ElementConnected],
	EventElementDisconnected:          decodeAs[ElementDisconnected],
	EventDataChannelOpened:            decodeAs[DataChannelOpened],
	EventDataChannelClosed:            decodeAs[DataChannelClosed],
	EventUriEndpointStateChanged:      decodeAs[UriEndpointStateChanged],
	EventEndOfStream:                  decodeAs[EndOfStream],
	EventRecording:                    decodeAs[Recording],
	EventPaused:                       decodeAs[Paused],
	EventStopped:                      decodeAs[Stopped],
	EventObjectCreated:                decodeAs[ObjectCreated],
	EventObjectDestroyed:              decodeAs[ObjectDestroyed],
}

func decodeAs[E any](data json.RawMessage) (any, error) {
	var body E
	if err := json.Unmarshal(data, &body); err != nil {
		return nil, err
	}
	return body, nil
}
