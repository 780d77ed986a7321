package kmsmock

import (
	_ "embed" // of the elements' descriptions
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// gstElementFile describes the elements of GStreamer 1.22 that a filter's
// command is likely to name: what they are, and the types of their properties.
//
//go:embed gst/elements.json
var gstElementFile []byte

// A gstElement is a kind of GStreamer element.
type gstElement struct {
	Kind       string            // "filter": has a sink and a source; "bin"; "other"
	Properties map[string]string // GParam types; of enums the type and its values too
}

var gstElements = sync.OnceValue(func() map[string]gstElement {
	out := map[string]gstElement{}
	if err := json.Unmarshal(gstElementFile, &out); err != nil {
		panic(err) // embedded
	}
	return out
})

// A gstFilter is the behaviour of a GStreamerFilter. Its media passes through
// unchanged.
type gstFilter struct {
	*element
	kind string // of the GStreamer element that the command names
	name string // of that element
}

func buildGStreamerFilter(o *mediaObject, args object) error {
	l := &launch{}
	err := l.parse(args["command"].(string))
	name := ""
	for _, kind := range l.made {
		name = o.srv.gstName(kind) // also of those that are thrown away again
	}
	if err != nil {
		return err
	}
	if l.name != "" {
		name = l.name
	}
	o.impl = &gstFilter{element: newFilter(o, args), kind: l.kind, name: name}
	return nil
}

func errLaunch(format string, args ...any) error {
	return errMarshal("GStreamer element cannot be created: "+format, args...)
}

// launchTokens are the words of GStreamer's pipeline descriptions: a property
// with its value, a reference to an element, a name, or a sign.
var launchTokens = regexp.MustCompile(`^(?:([A-Za-z0-9_-]+)\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^\s"'!]+)` +
	`|([A-Za-z0-9_-]+)\.[^\s]*|([A-Za-z0-9][A-Za-z0-9_:-]*)|(.))`)

// A launch is a pipeline description on its way to a single element.
type launch struct {
	kind, name string
	elements   int
	made       []string // kinds of elements that exist
	err        error    // the first
	linked     bool     // the last word was a link
}

// parse reads the command of a GStreamerFilter, which must make one element
// with a sink and a source.
func (l *launch) parse(command string) error {
	rest := strings.TrimSpace(command)
	if rest == "" {
		return errLaunch("empty pipeline not allowed")
	}
	for rest != "" {
		m := launchTokens.FindStringSubmatch(rest)
		if m == nil || !l.word(m) {
			return errLaunch("syntax error")
		}
		rest = strings.TrimSpace(rest[len(m[0]):])
	}
	if l.linked {
		return errLaunch("syntax error")
	}
	return l.verdict()
}

// word takes in the next word; false is an error of syntax, which counts
// before any other.
func (l *launch) word(m []string) bool {
	property, text, reference, name, sign := m[1], m[2], m[3], m[4], m[5]
	wasLinked := l.linked
	l.linked = false
	switch {
	case property != "":
		l.assign(property, text)
		return l.elements > 0 && !wasLinked
	case reference != "":
		l.fail(errLaunch("unexpected reference \"%s\" - ignoring", reference))
	case name != "":
		l.add(name)
	case sign == "(" || sign == ")":
		l.elements = 2
	case sign == "/" && l.err != nil:
	case sign == "=" && l.err != nil && !wasLinked:
	case sign == "!" && l.elements > 0 && !wasLinked:
		l.linked = true
	default:
		return false
	}
	return true
}

func (l *launch) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

func (l *launch) add(kind string) {
	l.elements++
	l.kind = kind
	if _, ok := gstElements()[kind]; !ok {
		l.fail(errLaunch("no element \"%s\"", kind))
		return
	}
	l.made = append(l.made, kind)
}

// assign sets a property of the last element.
func (l *launch) assign(property, text string) {
	e, ok := gstElements()[l.kind]
	if !ok || e.Kind != "filter" {
		return
	}
	text = strings.Trim(text, `"'`)
	if property == "name" {
		l.name = text
		return
	}
	typ, ok := e.Properties[property]
	switch {
	case !ok:
		l.fail(errLaunch("no property \"%s\" in element \"%s\"", property, l.kind))
	case !readable(typ, text):
		l.fail(errLaunch("could not set property \"%s\" in element \"%s\" to \"%s\"", property, l.kind, text))
	}
}

// readable tells whether a command may set a property of a type to a text.
func readable(typ, text string) bool {
	name, rest, _ := strings.Cut(typ, " ")
	switch name {
	case "GParamInt", "GParamUInt", "GParamInt64", "GParamUInt64":
		_, err := strconv.ParseInt(text, 0, 64)
		return err == nil
	case "GParamFloat", "GParamDouble":
		_, err := strconv.ParseFloat(text, 64)
		return err == nil
	case "GParamEnum":
		_, values, _ := strings.Cut(rest, " ")
		all := strings.Split(values, ",")
		n, err := strconv.Atoi(text)
		return strings.Contains(","+values+",", ","+text+",") || (err == nil && n >= 0 && n < len(all))
	}
	return true
}

func (l *launch) verdict() error {
	switch {
	case l.err != nil:
		return l.err
	case l.elements != 1 || gstElements()[l.kind].Kind == "bin":
		return errMarshal("Given command is not valid, only one element can be created")
	case gstElements()[l.kind].Kind != "filter":
		return errMarshal("Given command is not valid, pad templates don't match")
	}
	return nil
}

func setElementProperty(c *call) (value, error) {
	f := c.obj.impl.(*gstFilter)
	name, text := c.str("propertyName"), c.str("propertyValue")
	typ, ok := gstElements()[f.kind].Properties[name]
	if !ok {
		return nil, errMarshal("No property named '%s' in object '%s'", name, f.name)
	}
	param, rest, _ := strings.Cut(typ, " ")
	switch param {
	case "GParamString":
	case "GParamInt":
		if _, err := strconv.ParseInt(leadingInteger(text), 10, 32); err != nil {
			return nil, errMarshal("Cannot convert '%s' to int: stoi", text)
		}
	case "GParamFloat":
		if !startsWithNumber(text) {
			return nil, errMarshal("Cannot convert '%s' to float: stof", text)
		}
	case "GParamDouble":
		if !startsWithNumber(text) {
			return nil, errMarshal("Cannot convert '%s' to double: stod", text)
		}
	case "GParamEnum":
		enum, values, _ := strings.Cut(rest, " ")
		if !strings.Contains(","+values+",", ","+text+",") || text == "" {
			return nil, errMarshal("Cannot convert '%s' to enum: Invalid value for enum %s", text, enum)
		}
	default:
		return nil, failf(40006, "NOT_IMPLEMENTED", "Property type not implemented: %s", param)
	}
	return nil, nil
}

var numberStart = regexp.MustCompile(`^\s*[+-]?(\d|\.\d|[iI][nN][fF]|[nN][aA][nN])`)

// startsWithNumber tells whether C's strtod reads anything of text.
func startsWithNumber(text string) bool { return numberStart.MatchString(text) }
