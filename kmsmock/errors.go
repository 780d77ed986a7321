package kmsmock

import "fmt"

// fault is an error that goes to the client as the JSON-RPC error object.
type fault struct {
	code int
	kind string // data.type; empty: the error has no data
	text string
}

func (f *fault) Error() string { return fmt.Sprintf("%d %s", f.code, f.text) }

// body is the JSON form of the error member.
func (f *fault) body() object {
	out := object{"code": f.code, "message": f.text}
	if f.kind != "" {
		out["data"] = object{"type": f.kind}
	}
	return out
}

// Codes and names of the errors, recorded from Kurento Media Server 7.3.0.
const (
	codeInvalidRequest = -32600
	codeMethodNotFound = -32601
	codeInvalidParams  = -32602
	codeInternal       = -32603
	codeServer         = -32000
)

func failf(code int, kind, format string, args ...any) *fault {
	return &fault{code, kind, fmt.Sprintf(format, args...)}
}

func errParams(format string, args ...any) *fault { return failf(codeServer, "", format, args...) }

func errMarshal(format string, args ...any) *fault {
	return failf(40001, "MARSHALL_ERROR", format, args...)
}

// errUnexpected is what an exception of the C++ standard library looks like.
func errUnexpected(what string) *fault {
	return failf(codeInternal, "", "Unexpected error while processing method: %s", what)
}

func errNotFound(id string) *fault {
	return failf(40101, "MEDIA_OBJECT_NOT_FOUND", "Object '%s' not found", id)
}

func errTransaction(format string, args ...any) *fault {
	return failf(40008, "MALFORMED_TRANSACTION", format, args...)
}

func errSession() *fault { return failf(40007, "INVALID_SESSION", "Invalid session") }

func errMissingParams() *fault {
	return failf(codeInvalidParams, "INVALID_PARAMS", "'params' is required")
}
