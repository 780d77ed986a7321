package kurento

import (
	"bytes"
	"encoding/json"
)

// Methods of KMS.
const (
	methodConnect      = "connect"
	methodCreate       = "create"
	methodInvoke       = "invoke"
	methodSubscribe    = "subscribe"
	methodUnsubscribe  = "unsubscribe"
	methodRelease      = "release"
	methodRef          = "ref"
	methodUnref        = "unref"
	methodKeepAlive    = "keepAlive"
	methodDescribe     = "describe"
	methodTransaction  = "transaction"
	methodPing         = "ping"
	methodCloseSession = "closeSession"
	methodOnEvent      = "onEvent" // the only one from KMS
)

// request holds the parameters of all methods. The session is left out where
// KMS does not demand it: it takes the one that connect has bound to the
// connection, whereas naming a session that has died would create it anew.
type request struct {
	Object            ObjectID `json:"object,omitempty"`
	Type              string   `json:"type,omitempty"` // a class or an event
	ConstructorParams any      `json:"constructorParams,omitempty"`
	Operation         string   `json:"operation,omitempty"`
	OperationParams   any      `json:"operationParams,omitempty"`
	Subscription      string   `json:"subscription,omitempty"`
	SessionID         string   `json:"sessionId,omitempty"`
	Release           bool     `json:"release,omitempty"`
	Operations        any      `json:"operations,omitempty"`

	purpose string // of Operations, for who measures and reads errors
}

// reply is the result of most methods. Value is a pointer to what is wanted,
// and left alone by a null.
type reply struct {
	Value any `json:"value"`
}

// notification is the one message that KMS sends of its own accord.
type notification struct {
	Method string `json:"method"`
	Params struct {
		Value struct {
			Object ObjectID        `json:"object"`
			Type   EventType       `json:"type"`
			Data   json.RawMessage `json:"data"`
		} `json:"value"`
	} `json:"params"`
}

// isResponse recognizes a response by the member that KMS, which sorts them,
// writes first. It may miss one, but takes nothing else for one: events have
// no id.
func isResponse(data []byte) bool {
	return bytes.HasPrefix(data, []byte(`{"id":`)) || bytes.HasPrefix(data, []byte(`{"error":`))
}

// cutResponse cuts a response to a request of this package's, as KMS writes it,
// into its id and its result.
func cutResponse(data []byte) (id string, result []byte, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"id":"`))
	if !ok {
		return "", nil, false
	}
	head, result, ok := bytes.Cut(rest, []byte(`","jsonrpc":"2.0","result":`))
	if !ok || bytes.ContainsAny(head, `"\\`) {
		return "", nil, false
	}
	result, ok = bytes.CutSuffix(result, []byte("}"))
	return string(head), result, ok
}
