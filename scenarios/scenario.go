// Package scenarios is the scenario language: its files, what its verbs do,
// and the judge that reads a run's trace and says whether it went as written.
// docs/scenarios.md and `callbench help scenario` are generated from its tables.
package scenarios

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Scenario is one parsed file, or one case of it.
type Scenario struct {
	Name  string // file name without folder and ending, and "/key=value" for a case
	File  string // as given, for messages
	Text  string // the whole file
	Doc   string // the comment that opens the file
	Needs []string

	Settings map[string]string
	Clients  []Client
	Cases    []Case
	Mix      []Field // shares of other scenarios under load
	Require  []Field // thresholds under load
	Steps    []Step

	headerLines map[string]int    // where a header word stands, for messages
	shared      bool              // other calls are in the world at the same time
	accounts    map[string]string // who plays the users of the script, if others do
}

// Client is one headless client: one device of one user.
type Client struct {
	Name    string // as the script calls it: "alice", "bob.phone", "viewer[7]"
	User    string // "alice", "bob", "viewer7"
	Device  string // "phone"; the user's name where the script names no device
	Profile string // "electron"
	Option  string // "relay+level0" in electron:relay+level0
	Line    int
}

// Has reports whether the client was declared with an option.
func (c Client) Has(option string) bool {
	return slices.Contains(strings.Split(c.Option, "+"), option)
}

// Case is a variable and the values that the scenario is run with, one by one.
type Case struct {
	Name   string
	Values []string
	Line   int
}

// StepKind tells actions from expectations.
type StepKind int

// The kinds of steps.
const (
	Action StepKind = iota
	Expect
	Never
)

// Step is one line of the script.
type Step struct {
	Line    int
	Text    string
	Kind    StepKind
	At      time.Duration // from the start of the run; negative if the line has no "at"
	Refused bool          // "!": the action must be refused
	Perhaps bool          // "?": the action may be done or refused
	Actors  []string      // clients or groups as written; empty for the world's own verbs
	Clauses []Clause      // an action has one; an expectation one for each "or"
	Within  time.Duration // how long an expectation may take; 0 means the scenario's timeout
	For     time.Duration // how long a never lasts
	As      string        // the span that this step names
}

// Clause is a verb with its arguments and fields.
type Clause struct {
	Verb   string
	Args   []string
	Fields []Field
}

// Field is key=value, or key with one of >=, <=, > and <.
type Field struct {
	Key, Op, Value string
}

// String renders the field as it was written.
func (f Field) String() string { return f.Key + f.Op + f.Value }

// Get is the value of the field key=value, "" if there is none.
func (c Clause) Get(key string) string {
	for _, f := range c.Fields {
		if f.Key == key && f.Op == "=" {
			return f.Value
		}
	}
	return ""
}

// Timeout is how long an expectation may take that does not say.
func (s *Scenario) Timeout() time.Duration {
	if d, err := time.ParseDuration(s.Settings["timeout"]); err == nil {
		return d
	}
	return 5 * time.Second
}

// Delay is the one-way delay of every client's network.
func (s *Scenario) Delay() time.Duration {
	d, err := time.ParseDuration(s.Settings["delay"])
	if err != nil {
		return 20 * time.Millisecond
	}
	return d
}

// Level is the highest level of the protocol that the server speaks in this
// run.
func (s *Scenario) Level() int {
	if s.Settings["level"] == "0" {
		return 0
	}
	return 1
}

// Video is the bit rate of the video that clients send, in the words of the
// setting. Among browsers it is "barcode", a clip whose sender can be seen.
func (s *Scenario) Video() string {
	if s.Chromium() {
		return "barcode"
	}
	return cmp.Or(s.Settings["video"], "200k")
}

// RoomLimit is how many members a room of several may have; 0 is as the server has it.
func (s *Scenario) RoomLimit() int {
	n, err := strconv.Atoi(s.Settings["room_limit"])
	if err != nil {
		return 0
	}
	return n
}

// ResumeWindow is how long a session without a connection can be resumed; zero is
// as the server has it.
func (s *Scenario) ResumeWindow() time.Duration {
	d, err := time.ParseDuration(s.Settings["resume_window"])
	if err != nil {
		return 0
	}
	return d
}

// AtLevel is the scenario as it is played with a server that speaks no more
// than this level.
func (s *Scenario) AtLevel(level int) *Scenario {
	one := *s
	one.Settings = maps.Clone(s.Settings)
	one.Settings["level"] = strconv.Itoa(level)
	return &one
}

// Resolve names the clients that a word of the script stands for: one client, a
// user with all devices, a group, or a part of a group such as viewer[1..40].
func (s *Scenario) Resolve(word string) ([]Client, error) {
	var found []Client
	group, from, to, isRange := cutRange(word)
	for _, c := range s.Clients {
		name, i, _, indexed := cutRange(c.Name)
		user, _, hasDevice := strings.Cut(c.Name, ".")
		switch {
		case c.Name == word, hasDevice && user == word:
			found = append(found, c)
		case indexed && name == group && (!isRange || from <= i && i <= to):
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no client is called %q%s", word, suggest(word, s.clientNames()))
	}
	return found, nil
}

// ResolveAll names the clients of several words, each once.
func (s *Scenario) ResolveAll(words []string) ([]Client, error) {
	var all []Client
	for _, w := range words {
		cs, err := s.Resolve(w)
		if err != nil {
			return nil, err
		}
		for _, c := range cs {
			if !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	return all, nil
}

func (s *Scenario) clientNames() []string {
	var names []string
	for _, c := range s.Clients {
		names = append(names, c.Name)
	}
	return names
}

// cutRange splits "viewer[3..5]" into viewer, 3 and 5, and "viewer[3]" into
// viewer, 3 and 3.
func cutRange(word string) (name string, from, to int, ok bool) {
	name, rest, found := strings.Cut(word, "[")
	if !found || !strings.HasSuffix(rest, "]") {
		return word, 0, 0, false
	}
	a, b, span := strings.Cut(strings.TrimSuffix(rest, "]"), "..")
	if !span {
		b = a
	}
	from, err1 := strconv.Atoi(a)
	to, err2 := strconv.Atoi(b)
	if err1 != nil || err2 != nil {
		return word, 0, 0, false
	}
	return name, from, to, true
}

// Expand gives one scenario for each value of the cases, or the scenario itself
// if it has none.
func (s *Scenario) Expand() ([]*Scenario, error) {
	sets := []map[string]string{{}}
	for _, c := range s.Cases {
		var next []map[string]string
		for _, set := range sets {
			for _, v := range c.Values {
				with := map[string]string{c.Name: v}
				for k, old := range set {
					with[k] = old
				}
				next = append(next, with)
			}
		}
		sets = next
	}
	if len(s.Cases) == 0 {
		return []*Scenario{s}, nil
	}
	var out []*Scenario
	for _, set := range sets {
		one, err := parse(s.File, s.Text, set)
		if err != nil {
			return nil, err
		}
		for _, c := range s.Cases {
			one.Name += "/" + c.Name + "=" + set[c.Name]
		}
		out = append(out, one)
	}
	return out, nil
}

// Case is the case with this name, or the scenario itself if it has none.
func (s *Scenario) Case(name string) (*Scenario, error) {
	cases, err := s.Expand()
	if err != nil {
		return nil, err
	}
	var others []string
	for _, c := range cases {
		if c.Name == name {
			return c, nil
		}
		others = append(others, strings.TrimPrefix(c.Name, s.Name+"/"))
	}
	wanted := strings.TrimPrefix(name, s.Name+"/")
	if len(s.Cases) == 0 {
		return nil, fmt.Errorf("%s has no cases, and so none called %q", s.File, wanted)
	}
	return nil, fmt.Errorf("%s has no case %q, only %s", s.File, wanted, strings.Join(others, ", "))
}

// PerCall is the scenario as the n-th of many calls plays it under load: with
// users of its own, and without the expectations about the world as a whole,
// which other calls are changing.
func (s *Scenario) PerCall(n int) *Scenario {
	one := *s
	one.shared = true
	one.Clients = slices.Clone(s.Clients)
	for i := range one.Clients {
		one.Clients[i].User += "." + strconv.Itoa(n)
	}
	one.Steps = slices.DeleteFunc(slices.Clone(s.Steps), func(st Step) bool {
		return st.Kind == Expect && len(st.Actors) == 0 && findExpectation(st.Clauses[0].Verb, true).round != nil
	})
	return &one
}

// client is the client with that name, or nil.
func (s *Scenario) client(name string) *Client {
	for i := range s.Clients {
		if s.Clients[i].Name == name {
			return &s.Clients[i]
		}
	}
	return nil
}

// plain reports whether a user's clients speak level 0.
func (s *Scenario) plain(user string) bool {
	return s.Level() == 0 || slices.ContainsFunc(s.Clients, func(c Client) bool { return c.User == user && c.Has("level0") })
}

// user is the user that a word of the script means: a client's, or the word
// itself for somebody who is not a client.
func (s *Scenario) user(word string) string {
	if clients, err := s.Resolve(word); err == nil {
		return clients[0].User
	}
	return s.account(word)
}
