package kmsmock

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// defaultFolder is where a URI without scheme is looked for (defaultPath of
// Kurento's UriEndpoint.conf.ini).
const defaultFolder = "file:///var/lib/kurento"

// uriScheme is the beginning of what GStreamer takes for a whole URI.
var uriScheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// A uriEndpoint is what recorder and player have in common: a URI and a state,
// STOP, START or PAUSE.
type uriEndpoint struct {
	*element
	uri      string // as getUri gives it
	absolute string
	state    string
}

func newURIEndpoint(o *mediaObject, kind string, args object) uriEndpoint {
	u := uriEndpoint{element: newElement(o, kind), state: "STOP"}
	u.uri = strings.ReplaceAll(args["uri"].(string), "%2F", "/")
	u.absolute = u.uri
	o.props["uri"] = u.uri
	if !uriScheme.MatchString(u.uri) {
		u.absolute = defaultFolder + "/" + u.uri
	}
	return u
}

// A uriBehaviour is a recorder or a player.
type uriBehaviour interface {
	endpoint() *uriEndpoint
	pause()
	stop()
}

func (u *uriEndpoint) endpoint() *uriEndpoint { return u }

func uriOf(o *mediaObject) uriBehaviour { return o.impl.(uriBehaviour) }

func getURI(o *mediaObject) (value, error)      { return uriOf(o).endpoint().uri, nil }
func getURIState(o *mediaObject) (value, error) { return uriOf(o).endpoint().state, nil }

func pauseURI(c *call) (value, error) {
	uriOf(c.obj).pause()
	return nil, nil
}

func stopURI(c *call) (value, error) {
	uriOf(c.obj).stop()
	return nil, nil
}

// change moves to another state and says so. The lock is held.
func (u *uriEndpoint) change(state string) {
	if u.state == state {
		return
	}
	u.state = state
	u.obj.srv.emit(u.obj, "UriEndpointStateChanged", object{"state": state})
}

func (u *uriEndpoint) scheme() string {
	scheme, _, _ := strings.Cut(u.absolute, ":")
	return strings.ToLower(scheme)
}

// file is the path of a file URI, "" for one that names none: as Kurento would
// open it, and as this server does.
func (u *uriEndpoint) file() (told, real string) {
	rest, ok := strings.CutPrefix(u.absolute[len(u.scheme()):], "://")
	if !ok || rest == "" {
		return "", ""
	}
	if plain, err := url.PathUnescape(rest); err == nil {
		rest = plain
	}
	if root := u.obj.srv.cfg.FileRoot; root != "" {
		return rest, filepath.Join(root, filepath.FromSlash(path.Clean("/"+rest)))
	}
	return rest, filepath.FromSlash(rest)
}

// number is what GStreamer counts the element as.
func (u *uriEndpoint) number() string { return strings.TrimLeft(u.gst, "abcdefghijklmnopqrstuvwxyz") }

// reportGst sends an Error event as Kurento makes one of a message of
// GStreamer. debug is where that came from. The lock is held.
func (u *uriEndpoint) reportGst(code int, kind, what, debug string) {
	text := fmt.Sprintf("Error code %d: %s, source: %s, element: %s, debug info: %s", code, what, u.gst, u.gst, debug)
	u.obj.srv.emit(u.obj, "Error", object{"description": text, "errorCode": code, "type": kind})
}
