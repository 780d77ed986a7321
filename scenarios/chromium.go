package scenarios

import (
	"fmt"
	"slices"

	"github.com/callbench/callbench/reports/trace"
)

// Chromium is the profile of clients that are a real browser.
const Chromium = "chromium"

// needChromium is the capability of a world in which a browser can be started.
const needChromium = Chromium

// optionAsks lets a browser hide its addresses.
const optionAsks = "mdns"

// Chromium reports whether the client is a real browser.
func (c Client) Chromium() bool { return c.Profile == Chromium }

// Chromium reports whether some of the clients are real browsers.
func (s *Scenario) Chromium() bool { return slices.ContainsFunc(s.Clients, Client.Chromium) }

// checkChromium holds a client to what its profile can be.
func (s *Scenario) checkChromium(c Client) error {
	switch {
	case c.Chromium() && c.Has("level0"):
		return fmt.Errorf("%s: a browser's page can show its token in hello only, which level 0 has not", c.Name)
	case !c.Chromium() && c.Has(optionAsks):
		return fmt.Errorf("%s: only %s hides its addresses so", c.Name, Chromium)
	}
	return nil
}

// checkAwake lets no browser sleep: its machine is the one that plays.
func (s *Scenario) checkAwake(actors []string) error {
	clients, err := s.ResolveAll(actors)
	if err != nil {
		return nil // the parser has said so
	}
	for _, c := range clients {
		if c.Chromium() {
			return fmt.Errorf("%s is a %s, whose machine cannot sleep", c.Name, Chromium)
		}
	}
	return nil
}

// Witness is a World that can show what its clients have on their screens.
type Witness interface {
	// Screens are PNG images, by the clients' names.
	Screens() map[string][]byte
}

// pictureStates are what a picture that is rendered can be.
var pictureStates = []string{"moving", "frozen", "black", "unknown"}

// pictureExpectation is about what is seen, where media proves what arrives.
var pictureExpectation = Expectation{Name: "picture", Help: "a picture with the barcode of the other party, or of a member of the room, is seen: by chromium in what it renders, by others in the key frames that they get from one; " +
	"with state= in what chromium renders", parts: pictureParts,
	Fields: []FieldSpec{fromField, {Name: "state", Kind: Text, Help: "what the picture is; moving with a barcode in it if not set", Values: pictureStates}}}

func pictureParts(c Clause) []match {
	state, rest := "", []Field(nil)
	for _, f := range c.Fields {
		if f.Key == "state" {
			state = f.Value
			continue
		}
		rest = append(rest, f)
	}
	isPicture := func(e trace.Event) bool { return e.Kind == "media.picture" }
	return []match{{what: "picture", near: isPicture, event: func(j *Judge, e trace.Event) bool {
		switch {
		case e.Kind == "media.seen" && state == "":
			return e.Get("from") != "" && !j.s.client(e.Actor).Chromium() && j.fieldsHold(rest, e)
		case !isPicture(e):
			return false
		case state == "":
			return e.Get("state") == "moving" && e.Get("from") != "" && j.fieldsHold(rest, e)
		}
		return e.Get("state") == state && j.fieldsHold(rest, e)
	}}}
}
