// Package trace is the one record of a run: every client, server, media server
// and network event, and every step of the script, in order. All verdicts,
// tables and reports are computed from it, live or from the kept file.
package trace

import (
	"strconv"
	"time"
)

// Version is the version of the file format, kept in its first event.
const Version = 1

// Kind names what happened, dotted, in the field's own terms: "ice.state".
type Kind string

// The kinds that the harness itself writes. Everything else comes from the
// parts under test, which name their own.
const (
	KindRunBegin  Kind = "run.begin"  // version, scenario, file, text, seed, world, part.* (the parts' versions), env.* (where it ran)
	KindRunEnd    Kind = "run.end"    // error, if the run itself broke; skip, if the world lacks what the scenario needs
	KindLoadBegin Kind = "load.begin" // version, scenario, text, world, calls, seed: of many runs at once
	KindLoadEnd   Kind = "load.end"
	KindStepBegin Kind = "step.begin"    // step
	KindStepEnd   Kind = "step.end"      // step; error code and message if an action failed
	KindDeadline  Kind = "step.deadline" // step: its time is up
	KindProbe     Kind = "probe"         // what a look at Redis, history, media server found
)

// Event is one thing that happened. T is the time since the run began. Actor is
// who it happened to: a client's name, "server", "kms", "net", or "script".
type Event struct {
	T     time.Duration
	Actor string
	Kind  Kind
	Attrs []Attr
}

// Attr is a named value of an event: a string, an integer, a float or a bool.
type Attr struct {
	Key   string
	str   string
	num   int64
	float float64
	typ   uint8
}

const (
	isString uint8 = iota
	isInt
	isFloat
	isBool
	isDuration
)

// String makes a string attribute.
func String(key, v string) Attr { return Attr{Key: key, str: v} }

// Int makes an integer attribute.
func Int[N int | int32 | int64 | uint16 | uint32 | uint64 | uint8](key string, v N) Attr {
	return Attr{Key: key, num: int64(v), typ: isInt}
}

// Float makes a floating point attribute.
func Float(key string, v float64) Attr { return Attr{Key: key, float: v, typ: isFloat} }

// Bool makes a boolean attribute.
func Bool(key string, v bool) Attr {
	a := Attr{Key: key, typ: isBool}
	if v {
		a.num = 1
	}
	return a
}

// Duration makes a duration attribute. The file holds it as milliseconds with
// three decimals, and the key should end in _ms.
func Duration(key string, d time.Duration) Attr {
	return Attr{Key: key, num: int64(d), typ: isDuration}
}

// Text is the attribute's value as a person or an expectation reads it.
func (a Attr) Text() string {
	switch a.typ {
	case isInt:
		return strconv.FormatInt(a.num, 10)
	case isFloat:
		return strconv.FormatFloat(a.float, 'g', -1, 64)
	case isBool:
		return strconv.FormatBool(a.num == 1)
	case isDuration:
		return strconv.FormatFloat(milliseconds(a.num), 'f', -1, 64)
	default:
		return a.str
	}
}

// Number is the attribute's value as a number, 0 for text; durations count in
// milliseconds.
func (a Attr) Number() float64 {
	switch a.typ {
	case isInt, isBool:
		return float64(a.num)
	case isFloat:
		return a.float
	case isDuration:
		return milliseconds(a.num)
	default:
		return 0
	}
}

// milliseconds keeps microseconds, which is what the file keeps.
func milliseconds(ns int64) float64 { return float64(ns/1000) / 1000 }

// Get is the text of the attribute with this key, "" if there is none.
func (e Event) Get(key string) string {
	for _, a := range e.Attrs {
		if a.Key == key {
			return a.Text()
		}
	}
	return ""
}

// Number is the number of the attribute with this key, 0 if there is none.
func (e Event) Number(key string) float64 {
	for _, a := range e.Attrs {
		if a.Key == key {
			return a.Number()
		}
	}
	return 0
}

// Has reports whether the event has this attribute.
func (e Event) Has(key string) bool {
	for _, a := range e.Attrs {
		if a.Key == key {
			return true
		}
	}
	return false
}
