package kurento

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/sourcegraph/jsonrpc2"
)

// ErrClosed is returned by calls on a Client that was closed.
var ErrClosed = errors.New("kurento: client is closed")

// Code is the code of an error that KMS answered.
type Code int

// Codes of JSON-RPC as KMS uses them, and of KurentoException.hpp.
const (
	CodeInvalidRequest Code = -32600
	CodeMethodNotFound Code = -32601
	CodeInvalidParams  Code = -32602
	CodeInternalError  Code = -32603
	CodeServerError    Code = -32000 // a required member is missing

	CodeMarshall             Code = 40001
	CodeUnexpected           Code = 40003
	CodeConnect              Code = 40004
	CodeUnsupportedMediaType Code = 40005
	CodeNotImplemented       Code = 40006
	CodeInvalidSession       Code = 40007
	CodeMalformedTransaction Code = 40008 // also an unknown operation or a wrong set of parameters
	CodeNotEnoughResources   Code = 40009

	CodeTypeNotFound          Code = 40100
	CodeObjectNotFound        Code = 40101
	CodeConstructorNotFound   Code = 40104
	CodeOperationNotFound     Code = 40105
	CodeEventNotSupported     Code = 40106
	CodeIllegalParam          Code = 40107
	CodeNotAvailable          Code = 40108 // unknown or abstract class in create
	CodeNotFoundNoCommit      Code = 40109
	CodeTagKeyNotFound        Code = 40110
	CodeOperationNotSupported Code = 40111

	CodeSDPCreate              Code = 40200
	CodeSDPParse               Code = 40201
	CodeNoLocalSDP             Code = 40202
	CodeNoRemoteSDP            Code = 40203
	CodeGenerateOffer          Code = 40204
	CodeProcessOffer           Code = 40205
	CodeProcessAnswer          Code = 40206
	CodeSDPConfiguration       Code = 40207
	CodeAlreadyNegotiated      Code = 40208
	CodeNotOfferGenerated      Code = 40209
	CodeAnswerAlreadyProcessed Code = 40210
	CodeCannotCreateSession    Code = 40211

	CodeHTTPRegistration    Code = 40300
	CodeICEGatherCandidates Code = 40400
	CodeICEAddCandidate     Code = 40401
	CodeKmdNotFound         Code = 40500
	CodeURIPathFileNotFound Code = 40600
	CodePlayerSeekFail      Code = 40700
)

// codeNames are the names in KurentoException.hpp, which KMS also sends as
// data.type (but UNDEFINED for 40500), and those of the JSON-RPC codes.
var codeNames = map[Code]string{
	CodeInvalidRequest: "INVALID_REQUEST",
	CodeMethodNotFound: "METHOD_NOT_FOUND",
	CodeInvalidParams:  "INVALID_PARAMS",
	CodeInternalError:  "INTERNAL_ERROR",
	CodeServerError:    "SERVER_ERROR",

	CodeMarshall:             "MARSHALL_ERROR",
	CodeUnexpected:           "UNEXPECTED_ERROR",
	CodeConnect:              "CONNECT_ERROR",
	CodeUnsupportedMediaType: "UNSUPPORTED_MEDIA_TYPE",
	CodeNotImplemented:       "NOT_IMPLEMENTED",
	CodeInvalidSession:       "INVALID_SESSION",
	CodeMalformedTransaction: "MALFORMED_TRANSACTION",
	CodeNotEnoughResources:   "NOT_ENOUGH_RESOURCES",

	CodeTypeNotFound:          "MEDIA_OBJECT_TYPE_NOT_FOUND",
	CodeObjectNotFound:        "MEDIA_OBJECT_NOT_FOUND",
	CodeConstructorNotFound:   "MEDIA_OBJECT_CONSTRUCTOR_NOT_FOUND",
	CodeOperationNotFound:     "MEDIA_OBJECT_METHOD_NOT_FOUND",
	CodeEventNotSupported:     "MEDIA_OBJECT_EVENT_NOT_SUPPORTED",
	CodeIllegalParam:          "MEDIA_OBJECT_ILLEGAL_PARAM_ERROR",
	CodeNotAvailable:          "MEDIA_OBJECT_NOT_AVAILABLE",
	CodeNotFoundNoCommit:      "MEDIA_OBJECT_NOT_FOUND_TRANSACTION_NO_COMMIT",
	CodeTagKeyNotFound:        "MEDIA_OBJECT_TAG_KEY_NOT_FOUND",
	CodeOperationNotSupported: "MEDIA_OBJECT_OPERATION_NOT_SUPPORTED",

	CodeSDPCreate:              "SDP_CREATE_ERROR",
	CodeSDPParse:               "SDP_PARSE_ERROR",
	CodeNoLocalSDP:             "SDP_END_POINT_NO_LOCAL_SDP_ERROR",
	CodeNoRemoteSDP:            "SDP_END_POINT_NO_REMOTE_SDP_ERROR",
	CodeGenerateOffer:          "SDP_END_POINT_GENERATE_OFFER_ERROR",
	CodeProcessOffer:           "SDP_END_POINT_PROCESS_OFFER_ERROR",
	CodeProcessAnswer:          "SDP_END_POINT_PROCESS_ANSWER_ERROR",
	CodeSDPConfiguration:       "SDP_CONFIGURATION_ERROR",
	CodeAlreadyNegotiated:      "SDP_END_POINT_ALREADY_NEGOTIATED",
	CodeNotOfferGenerated:      "SDP_END_POINT_NOT_OFFER_GENERATED",
	CodeAnswerAlreadyProcessed: "SDP_END_POINT_ANSWER_ALREADY_PROCCESED",
	CodeCannotCreateSession:    "SDP_END_POINT_CANNOT_CREATE_SESSON",

	CodeHTTPRegistration:    "HTTP_END_POINT_REGISTRATION_ERROR",
	CodeICEGatherCandidates: "ICE_GATHER_CANDIDATES_ERROR",
	CodeICEAddCandidate:     "ICE_ADD_CANDIDATE_ERROR",
	CodeKmdNotFound:         "SERVER_MANAGER_ERROR_KMD_NOT_FOUND",
	CodeURIPathFileNotFound: "URI_PATH_FILE_NOT_FOUND",
	CodePlayerSeekFail:      "PLAYER_SEEK_FAIL",
}

// String returns KMS's name of the code, or its number if it has none.
func (c Code) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return strconv.Itoa(int(c))
}

// Error is an error that KMS answered. Calls return it wrapped: use errors.As,
// HasCode or one of the Is functions.
type Error struct {
	Code    Code
	Message string
	// Type is the name that KMS sends along, such as MEDIA_OBJECT_NOT_FOUND;
	// empty with the plain JSON-RPC errors.
	Type string
}

// Error returns the message with the code and its name.
func (e *Error) Error() string {
	name := e.Type
	if name == "" {
		name = e.Code.String()
	}
	return fmt.Sprintf("%s (%d %s)", e.Message, int(e.Code), name)
}

// HasCode reports whether err is, or wraps, an answer of KMS with this code.
func HasCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// IsNotFound reports whether the object that a call named does not exist, or
// no longer.
func IsNotFound(err error) bool { return HasCode(err, CodeObjectNotFound) }

// IsInvalidSession reports whether KMS does not know the session.
func IsInvalidSession(err error) bool { return HasCode(err, CodeInvalidSession) }

// IsOverloaded reports whether KMS refuses new objects because it is short of
// threads or file descriptors.
func IsOverloaded(err error) bool { return HasCode(err, CodeNotEnoughResources) }

// IsAlreadyNegotiated reports whether an endpoint was asked to negotiate a
// second time. KMS cannot: make a new endpoint.
func IsAlreadyNegotiated(err error) bool { return HasCode(err, CodeAlreadyNegotiated) }

// ConnectionError is the failure of a call for want of a connection.
type ConnectionError struct {
	// Sent is true if the request may have reached KMS: whether it was carried
	// out is not known.
	Sent bool
	// Err says why there is no connection, or that the deadline passed while
	// waiting for one.
	Err error
}

// Error says whether the outcome is in doubt, and the cause.
func (e *ConnectionError) Error() string {
	if e.Sent {
		return "connection lost with the request under way: " + e.Err.Error()
	}
	return "no connection: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *ConnectionError) Unwrap() error { return e.Err }

// fromWire turns the error of a JSON-RPC response into an *Error. KMS puts the
// name of the error into data.type; the answer to a notification has the
// would-be result there instead.
func fromWire(e *jsonrpc2.Error) *Error {
	out := &Error{Code: Code(e.Code), Message: e.Message}
	if e.Data == nil {
		return out
	}
	var data struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(*e.Data, &data) == nil {
		out.Type = data.Type
	}
	return out
}
