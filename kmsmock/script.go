package kmsmock

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Script is for the odd case that no rule makes: it waits for requests and
// sends what it likes on their connection.
type Script struct {
	Name  string `json:"name,omitempty"`
	Steps []Step `json:"steps"`
}

// A Step is one of: expect a request; send a frame; send an event; wait; close
// or cut the connection of the request that was expected last.
type Step struct {
	Expect *Match `json:"expect,omitempty"`
	// Swallow leaves the expected request undone and unanswered.
	Swallow bool `json:"swallow,omitempty"`
	// Send is a text frame as it goes out; $id stands for the JSON of the
	// expected request's id.
	Send  string       `json:"send,omitempty"`
	Event *ScriptEvent `json:"event,omitempty"`
	Wait  Span         `json:"wait,omitempty"`
	Close *Closing     `json:"close,omitempty"`
	Cut   bool         `json:"cut,omitempty"`
}

// Wait is a step that lets time pass.
func Wait(d time.Duration) Step { return Step{Wait: Span(d)} }

// A ScriptEvent is an event of an object that never happened. Members that all
// events have are added to its data.
type ScriptEvent struct {
	Object string          `json:"object"`
	Type   string          `json:"type"`
	Data   json.RawMessage `json:"data,omitempty"` // an object
}

func (st *Step) check(first bool) error {
	n := 0
	for _, set := range []bool{st.Expect != nil, st.Send != "", st.Event != nil, st.Wait != 0, st.Close != nil, st.Cut} {
		if set {
			n++
		}
	}
	switch {
	case n != 1:
		return errors.New("is not exactly one of expect, send, event, wait, close, cut")
	case first && st.Expect == nil:
		return errors.New("must be expect: a script acts on the connection of a request")
	case st.Swallow && st.Expect == nil:
		return errors.New("swallow belongs to expect")
	case st.Expect != nil && st.Expect.Event != "":
		return errors.New("expects an event; only requests can be expected")
	case st.Wait < 0:
		return errors.New("waits for less than nothing")
	case st.Close != nil:
		return st.Close.check()
	case st.Event != nil:
		_, err := st.Event.data()
		return err
	}
	return nil
}

func (e *ScriptEvent) data() (object, error) {
	if len(e.Data) == 0 {
		return object{}, nil
	}
	v, err := parseJSON(e.Data)
	data, ok := v.(object)
	if err != nil || !ok {
		return nil, errors.New("data of an event must be an object")
	}
	return data, nil
}

// AddScript starts a script. It ends with its last step.
func (s *Server) AddScript(script Script) error {
	if len(script.Steps) == 0 {
		return fmt.Errorf("kmsmock: script %q has no steps", script.Name)
	}
	for i := range script.Steps {
		if err := script.Steps[i].check(i == 0); err != nil {
			return fmt.Errorf("kmsmock: script %q: step %d: %w", script.Name, i+1, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts = append(s.scripts, &Script{script.Name, slices.Clone(script.Steps)})
	return nil
}

// RemoveScripts ends all scripts.
func (s *Server) RemoveScripts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts = nil
}

// A scene is the part of a script between two expectations.
type scene struct {
	script string
	id     string // JSON of the request's id
	steps  []Step
}

// cue moves on the scripts that have waited for a request. It returns what
// they do once it is answered, and whether it shall not be. The lock is held.
func (s *Server) cue(sub subject, id value) (scenes []scene, swallow bool) {
	for _, script := range slices.Clone(s.scripts) {
		head := script.Steps[0]
		if !head.Expect.matches(&sub) {
			continue
		}
		s.log.Info("kms.fault", "type", "script", "rule", script.Name, "of", sub.Method)
		swallow = swallow || head.Swallow
		rest := script.Steps[1:]
		n := slices.IndexFunc(rest, func(st Step) bool { return st.Expect != nil })
		if n < 0 {
			n = len(rest)
			s.scripts = slices.DeleteFunc(s.scripts, func(x *Script) bool { return x == script })
		}
		scenes = append(scenes, scene{script.Name, string(appendJSON(nil, id)), rest[:n]})
		script.Steps = rest[n:]
	}
	return scenes, swallow
}

// play carries a scene out, in order; the connection waits for its end.
func (c *conn) play(sc scene) {
	for _, st := range sc.steps {
		switch {
		case st.Send != "":
			c.outbox.respond([]byte(strings.ReplaceAll(st.Send, "$id", sc.id)), 0)
		case st.Event != nil:
			c.outbox.respond(c.srv.madeUp(st.Event), 0)
		case st.Wait > 0:
			select {
			case <-time.After(time.Duration(st.Wait)):
			case <-c.srv.ctx.Done():
			}
		case st.Close != nil:
			c.outbox.drain()
			c.hangUp(st.Close)
		case st.Cut:
			c.outbox.drain()
			c.cut()
		}
	}
}

// madeUp is the frame of an event that never happened.
func (s *Server) madeUp(e *ScriptEvent) []byte {
	data, _ := e.data()
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[e.Object]
	if o == nil {
		o = &mediaObject{srv: s, id: e.Object}
	}
	return eventFrame(o, e.Type, data)
}
