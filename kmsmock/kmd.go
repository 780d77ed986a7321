package kmsmock

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// kmdFiles are the modules of a stock Kurento Media Server 7.3.0 as its getKmd
// tells them, without documentation: the names and types of classes,
// constructors, properties, methods and events. Everything that the mock says
// about its classes comes from them.
//
//go:embed kmd/*.json
var kmdFiles embed.FS

// moduleNames are the modules of a stock server, each after those it builds on.
var moduleNames = []string{"core", "elements", "filters"}

// A kmdModule is the part of a module's description that gives classes.
type kmdModule struct {
	RemoteClasses []kmdClass
	ComplexTypes  []kmdType
}

type kmdClass struct {
	Name, Extends string
	Abstract      bool
	Constructor   struct{ Params []kmdParam }
	Methods       []struct {
		Name   string
		Params []kmdParam
	}
	Properties []kmdParam
	Events     []string
}

type kmdType struct {
	Name, Extends string
	TypeFormat    string // ENUM or REGISTER
	Values        []string
	Properties    []kmdParam
}

// A kmdParam is a parameter, property or field.
type kmdParam struct {
	Name, Type string
	Optional   bool
	Default    json.RawMessage `json:"defaultValue"`
	ReadOnly   bool
	Final      bool
}

// A model is the set of all classes and data types.
type model struct {
	classes []*class // in the order of the modules' descriptions
	byName  map[string]*class
	types   map[string]*dataType
	kmd     map[string]string // the modules' descriptions as getKmd gives them
}

// stockModel reads the model of a stock server once; it does not change.
var stockModel = sync.OnceValue(readModel)

func readModel() *model {
	m := &model{byName: map[string]*class{}, types: basicTypes(), kmd: map[string]string{}}
	for _, name := range moduleNames {
		text, err := kmdFiles.ReadFile("kmd/" + name + ".json")
		if err != nil {
			panic(err) // embedded
		}
		if err := m.read(name, text); err != nil {
			panic(fmt.Sprintf("kmd/%s.json: %v", name, err))
		}
	}
	m.implement()
	return m
}

func (m *model) read(name string, text []byte) error {
	var module kmdModule
	if err := json.Unmarshal(text, &module); err != nil {
		return err
	}
	m.kmd[name] = kmdText(text)
	for _, t := range module.ComplexTypes {
		m.types[t.Name] = &dataType{name: t.Name}
	}
	for _, c := range module.RemoteClasses {
		m.byName[c.Name] = &class{name: c.Name, module: name}
		m.types[c.Name] = &dataType{name: c.Name, form: formRef, class: c.Name}
	}
	for _, t := range module.ComplexTypes {
		if err := m.fillType(t); err != nil {
			return err
		}
	}
	for _, c := range module.RemoteClasses {
		if err := m.fillClass(c); err != nil {
			return fmt.Errorf("class %s: %w", c.Name, err)
		}
	}
	return nil
}

// kmdText writes a description as Kurento does: one line, a space behind each
// colon of a member.
func kmdText(text []byte) string {
	var out bytes.Buffer
	for line := range bytes.Lines(text) {
		out.Write(bytes.TrimSpace(line))
	}
	return out.String()
}

func (m *model) fillType(t kmdType) error {
	out := m.types[t.Name]
	if t.TypeFormat == "ENUM" {
		out.form, out.values = formEnum, t.Values
		return nil
	}
	out.form = formStruct
	if out.parent = m.types[t.Extends]; out.parent != nil {
		out.fields = slices.Clone(out.parent.fields)
	}
	fields, err := m.params(t.Properties)
	out.fields = append(out.fields, fields...)
	return err
}

func (m *model) fillClass(c kmdClass) error {
	out := m.byName[c.Name]
	out.parent, out.abstract, out.events = m.byName[c.Extends], c.Abstract, c.Events
	var err error
	if out.ctor, err = m.params(c.Constructor.Params); err != nil {
		return err
	}
	for _, method := range c.Methods {
		params, err := m.params(method.Params)
		if err != nil {
			return err
		}
		out.ops = append(out.ops, operation{name: method.Name, params: params})
	}
	for _, p := range c.Properties {
		typ, err := m.typ(p.Type)
		if err != nil {
			return err
		}
		out.props = append(out.props, property{name: p.Name, typ: typ, readOnly: p.ReadOnly || p.Final})
	}
	m.classes = append(m.classes, out)
	return nil
}

func (m *model) params(in []kmdParam) ([]param, error) {
	var out []param
	for _, p := range in {
		typ, err := m.typ(p.Type)
		if err != nil {
			return nil, err
		}
		one := param{name: p.Name, typ: typ, optional: p.Optional}
		if len(p.Default) > 0 {
			if one.def, err = parseJSON(p.Default); err != nil {
				return nil, err
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// typ is the type of that name; lists and maps, which no parameter of a stock
// server has, are only named.
func (m *model) typ(name string) (*dataType, error) {
	if strings.HasSuffix(name, "[]") || strings.HasSuffix(name, "<>") {
		return &dataType{name: name, form: formStruct}, nil
	}
	if t := m.types[name]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("unknown type %q", name)
}

// implement gives the classes what they do.
func (m *model) implement() {
	for _, c := range m.classes {
		impl := implementations[c.name]
		c.build = impl.build
		if c.build == nil && c.is("MediaElement") {
			c.build = buildPassThrough
		}
		for i := range c.ops {
			op := &c.ops[i]
			op.run, op.stranger = impl.ops[op.name], impl.strangers[op.name]
			if op.run == nil {
				op.run = doNothing
			}
			if op.stranger == nil {
				op.stranger = badPointer
			}
		}
		for i := range c.props {
			p := &c.props[i]
			p.get, p.set, p.fresh = impl.get[p.name], impl.set[p.name], impl.fresh[p.name]
		}
	}
}

// factory finds the class of that name, with or without Kurento's prefix,
// nil for one that cannot be created.
func (m *model) factory(name string) *class {
	c := m.byName[strings.TrimPrefix(name, "kurento.")]
	if c == nil || c.abstract {
		return nil
	}
	return c
}

// factories are the names of a module's classes that can be created, sorted.
func (m *model) factories(module string) []string {
	names := []string{}
	for _, c := range m.classes {
		if c.module == module && !c.abstract {
			names = append(names, c.name)
		}
	}
	slices.Sort(names)
	return names
}

func getKmd(c *call) (value, error) {
	text, ok := c.srv.model.kmd[c.str("moduleName")]
	if !ok {
		return nil, failf(40500, "UNDEFINED", "Requested kmd module doesn't exist")
	}
	return text, nil
}
