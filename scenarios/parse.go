package scenarios

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Problem is one thing that is wrong with a scenario file.
type Problem struct {
	File    string
	Line    int
	Message string
}

// Error implements error: file:line: message.
func (p *Problem) Error() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message) }

// ParseFile reads a scenario file.
func ParseFile(path string) (*Scenario, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	return Parse(path, string(b))
}

// Parse reads a scenario's text. The error joins one *Problem for each line
// that is wrong.
func Parse(file, text string) (*Scenario, error) { return parse(file, text, map[string]string{}) }

func parse(file, text string, vars map[string]string) (*Scenario, error) {
	p := &parser{vars: vars, s: &Scenario{
		Name: strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), File: file, Text: text,
		Settings: map[string]string{}, headerLines: map[string]int{}}}
	for i, line := range strings.Split(text, "\n") {
		p.line = i + 1
		p.parseLine(strings.TrimRight(line, "\r"))
	}
	p.checkVariables()
	p.checkCases()
	return p.s, errors.Join(p.problems...)
}

type parser struct {
	s        *Scenario
	vars     map[string]string // case name to the value in force
	line     int
	problems []error
}

func (p *parser) fail(format string, args ...any) {
	p.problems = append(p.problems, &Problem{p.s.File, p.line, fmt.Sprintf(format, args...)})
}

func (p *parser) parseLine(line string) {
	trimmed := strings.TrimSpace(line)
	if strings.HasPrefix(trimmed, "#") && len(p.s.Steps) == 0 && len(p.s.headerLines) == 0 {
		p.s.Doc = strings.TrimSpace(p.s.Doc + " " + strings.TrimLeft(trimmed, "# "))
		return
	}
	words, err := lex(line)
	if err != nil {
		p.fail("%v", err)
		return
	}
	if len(words) == 0 {
		return
	}
	for i := range words {
		words[i] = p.substitute(words[i])
	}
	header, ok := headers[words[0]]
	if !ok {
		p.parseStep(trimmed, words)
		return
	}
	if len(p.s.Steps) > 0 {
		p.fail("%q belongs above the first step", words[0])
		return
	}
	p.s.headerLines[words[0]] = p.line
	header(p, words[1:])
}

// headers are the words that describe the scenario rather than act.
var headers = map[string]func(*parser, []string){
	"need":    (*parser).parseNeed,
	"set":     (*parser).parseSet,
	"clients": (*parser).parseClients,
	"case":    (*parser).parseCase,
	"mix":     func(p *parser, w []string) { p.s.Mix = append(p.s.Mix, p.fields(w, "name=share")...) },
	"require": func(p *parser, w []string) { p.s.Require = append(p.s.Require, p.fields(w, "metric<limit")...) },
}

// substitute puts a case's value in the place of $name.
func (p *parser) substitute(word string) string {
	if !strings.Contains(word, "$") {
		return word
	}
	longestFirst := func(a, b string) int { return len(b) - len(a) } // $loss is not the beginning of $lossy
	for _, name := range slices.SortedFunc(maps.Keys(p.vars), longestFirst) {
		word = strings.ReplaceAll(word, "$"+name, p.vars[name])
	}
	return word
}

// checkVariables finds a $name that no case defines.
func (p *parser) checkVariables() {
	for i, line := range strings.Split(p.s.Text, "\n") {
		code, _, _ := strings.Cut(line, "#")
		for _, part := range strings.Split(code, "$")[1:] {
			name := part[:len(part)-len(strings.TrimLeft(part, "abcdefghijklmnopqrstuvwxyz0123456789_"))]
			if _, ok := p.vars[name]; !ok {
				p.line = i + 1
				p.fail("$%s is not defined by a case%s", name, suggest(name, slices.Sorted(maps.Keys(p.vars))))
			}
		}
	}
}

func (p *parser) parseNeed(words []string) {
	if len(words) == 0 {
		p.fail("need names at least one capability")
	}
	p.s.Needs = append(p.s.Needs, words...)
}

func (p *parser) parseSet(words []string) {
	for _, f := range p.fields(words, "name=value") {
		if f.Op != "=" {
			p.fail("set takes name=value, not %q", f)
			continue
		}
		if old := p.s.Settings[f.Key]; old != "" {
			p.fail("%s is set twice", f.Key)
		}
		p.s.Settings[f.Key] = f.Value
	}
}

func (p *parser) fields(words []string, form string) []Field {
	var fields []Field
	for _, w := range words {
		f, ok := cutField(w)
		if !ok {
			p.fail("%q is not of the form %s", w, form)
			continue
		}
		fields = append(fields, f)
	}
	return fields
}

func (p *parser) parseCase(words []string) {
	for _, f := range p.fields(words, "name=value,value") {
		values := strings.Split(f.Value, ",")
		if a, b, ok := strings.Cut(f.Value, ".."); ok {
			values = p.numbers(a, b)
		}
		if len(values) == 0 || slices.Contains(values, "") {
			p.fail("case %s has an empty value", f.Key)
			continue
		}
		p.s.Cases = append(p.s.Cases, Case{Name: f.Key, Values: values, Line: p.line})
		if _, given := p.vars[f.Key]; !given { // the file itself is checked with the first value of each case
			p.vars[f.Key] = values[0]
		}
	}
}

func (p *parser) numbers(a, b string) []string {
	from, err1 := strconv.Atoi(a)
	to, err2 := strconv.Atoi(b)
	if err1 != nil || err2 != nil || to < from || to-from > 10000 {
		p.fail("%s..%s is not a range of numbers", a, b)
		return nil
	}
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, strconv.Itoa(i))
	}
	return out
}

// maxCases is how many runs the cases of a file may make together.
const maxCases = 10000

func (p *parser) checkCases() {
	runs := 1
	for _, c := range p.s.Cases {
		if runs *= len(c.Values); runs > maxCases {
			p.line = c.Line
			p.fail("the cases make more than %d runs", maxCases)
			return
		}
	}
}

// maxGroup is the largest group of clients, far beyond what one machine plays.
const maxGroup = 10000

// parseClients reads name=profile, user.device=profile, group[50]=profile and
// profile:option.
func (p *parser) parseClients(words []string) {
	for _, f := range p.fields(words, "name=profile") {
		profile, option, _ := strings.Cut(f.Value, ":")
		name, n, last, group := cutRange(f.Key)
		switch {
		case group && (n != last || n < 1 || n > maxGroup):
			p.fail("a group is written name[n], n from 1 to %d, not %s", maxGroup, f.Key)
			continue
		case !group:
			user, device, ok := strings.Cut(f.Key, ".")
			if !ok {
				device = user
			}
			p.addClient(Client{Name: f.Key, User: user, Device: device, Profile: profile, Option: option, Line: p.line})
			continue
		}
		for i := 1; i <= n; i++ {
			user := name + strconv.Itoa(i)
			p.addClient(Client{Name: fmt.Sprintf("%s[%d]", name, i), User: user, Device: user, Profile: profile, Option: option, Line: p.line})
		}
	}
}

func (p *parser) addClient(c Client) {
	if slices.ContainsFunc(p.s.Clients, func(o Client) bool { return o.Name == c.Name }) {
		p.fail("client %s is there twice", c.Name)
		return
	}
	if _, taken := reserved[c.User]; taken {
		p.fail("%q cannot name a client: the language uses the word", c.User)
	}
	p.s.Clients = append(p.s.Clients, c)
	if c.Chromium() && !slices.Contains(p.s.Needs, needChromium) {
		p.s.Needs = append(p.s.Needs, needChromium)
	}
}

// reserved are the words that a client cannot be called.
var reserved = map[string]bool{"at": true, "expect": true, "never": true, "net": true, "script": true, "server": true,
	"kms": true, "push": true, "recording": true, "turn": true, "redis": true, "mysql": true, "history": true, "clean": true, "span": true, "steps": true, "kill": true,
	"start": true, "part": true, "line": true, "token": true, "block": true, "unblock": true, "need": true, "set": true, "clients": true, "case": true, "mix": true, "require": true, "or": true, "as": true}

// parseStep reads [at T] [!|?] [expect|never] actors verb args… [or …] [as span].
func (p *parser) parseStep(text string, words []string) {
	st := Step{Line: p.line, Text: text, At: -1}
	words = p.parsePrefix(&st, words)
	words = p.parseSpan(&st, words)
	if len(words) == 0 {
		return
	}
	words = p.parseActors(&st, words)
	if len(words) == 0 {
		p.fail("what %s does is missing", strings.Join(st.Actors, ","))
		return
	}
	for _, part := range splitOr(words) {
		if len(part) == 0 {
			p.fail(`"or" stands between two expectations`)
			return
		}
		st.Clauses = append(st.Clauses, p.parseClause(&st, part))
	}
	if st.Kind == Action && len(st.Clauses) > 1 {
		p.fail(`"or" is for expectations`)
	}
	p.s.Steps = append(p.s.Steps, st)
}

func (p *parser) parsePrefix(st *Step, words []string) []string {
	if words[0] == "at" {
		if len(words) < 3 {
			p.fail("at needs a time and a step")
			return nil
		}
		st.At = p.duration("at", words[1])
		words = words[2:]
	}
	if words[0] == "!" || words[0] == "?" {
		st.Refused, st.Perhaps = words[0] == "!", words[0] == "?"
		words = words[1:]
	}
	if len(words) > 0 && (words[0] == "expect" || words[0] == "never") {
		st.Kind = map[string]StepKind{"expect": Expect, "never": Never}[words[0]]
		if st.Refused || st.Perhaps {
			p.fail(`"!" and "?" are for actions; the opposite of expect is never`)
		}
		words = words[1:]
	}
	if len(words) == 0 {
		p.fail("the step is not finished")
		return nil
	}
	return words
}

func (p *parser) parseSpan(st *Step, words []string) []string {
	n := len(words)
	if n == 2 && words[0] == "as" {
		p.fail("the step that as %s names is missing", words[1])
		return nil
	}
	if n > 2 && words[n-2] == "as" {
		st.As = words[n-1]
		return words[:n-2]
	}
	if n > 0 && words[n-1] == "as" {
		p.fail("as needs the name of a span")
		return nil
	}
	return words
}

// parseActors takes the clients off the front. The world's own verbs (net, kill,
// history, clean …) have none.
func (p *parser) parseActors(st *Step, words []string) []string {
	part := len(words) > 1 && systemParts[words[0]] && words[1] == "event"
	if !part && (worldWords[words[0]] || st.Kind == Action && actedOn[words[0]]) {
		return words
	}
	st.Actors = strings.Split(words[0], ",")
	for _, a := range st.Actors {
		if st.Kind != Action && systemParts[a] {
			continue
		}
		if _, err := p.s.Resolve(a); err != nil {
			p.fail("%v", err)
		}
	}
	return words[1:]
}

// systemParts are what has events besides clients: expect server event …
var systemParts = map[string]bool{"server": true, "kms": true, "turn": true, "redis": true, "history": true, "push": true}

// worldWords begin a step that is not about clients.
var worldWords = map[string]bool{"net": true, "kill": true, "start": true, "history": true, "clean": true, "span": true,
	"recording": true, "turn": true, "redis": true, "steps": true, "token": true, "block": true, "unblock": true, "part": true, "line": true}

// actedOn are the parts of the system that a script can act on, and that nothing
// but events can be expected of.
var actedOn = map[string]bool{"kms": true, "server": true}

func splitOr(words []string) [][]string {
	parts := [][]string{nil}
	for _, w := range words {
		if w == "or" {
			parts = append(parts, nil)
			continue
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], w)
	}
	return parts
}

func (p *parser) parseClause(st *Step, words []string) Clause {
	c := Clause{Verb: words[0]}
	for _, w := range words[1:] {
		f, ok := cutField(w)
		switch {
		case !ok:
			c.Args = append(c.Args, unquote(w))
		case f.Op == "=" && f.Key == "within" && st.Kind == Expect:
			st.Within = p.duration(f.Key, f.Value)
		case f.Op == "=" && f.Key == "for" && st.Kind == Never:
			st.For = p.duration(f.Key, f.Value)
		default:
			c.Fields = append(c.Fields, f)
		}
	}
	return c
}

func (p *parser) duration(what, s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		p.fail("%s: %q is not a duration such as 1500ms or 10s", what, s)
		return 0
	}
	return d
}
