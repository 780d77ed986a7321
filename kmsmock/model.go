package kmsmock

import "slices"

// A class describes one of Kurento's remote classes: what its module's
// description says about it, and the functions that give it behaviour. A class
// without such functions still answers create, describe, properties and
// subscriptions.
type class struct {
	name     string
	module   string
	parent   *class
	abstract bool
	ctor     []param
	props    []property
	ops      []operation
	events   []string
	// build gives a new object its behaviour; args are checked and complete.
	build func(o *mediaObject, args object) error
}

// A param is a parameter of a constructor or an operation, or a field of a struct.
type param struct {
	name     string
	typ      *dataType
	optional bool
	def      value // of an optional parameter
}

// A property has a getter, and unless it is read-only a setter. Without get
// and set the value just lives in the object, starting as fresh.
type property struct {
	name     string
	typ      *dataType
	readOnly bool
	fresh    value
	get      func(o *mediaObject) (value, error)
	set      func(o *mediaObject, v value) error
}

// An operation is a method of a class other than a property's getter or setter.
type operation struct {
	name   string
	params []param
	raw    bool // run checks the arguments itself
	run    func(c *call) (value, error)
	// stranger runs instead when an argument is an object of another class,
	// which is a null pointer to Kurento.
	stranger func(c *call) (value, error)
}

// A call is one invocation on its way: the object, its checked arguments and
// how the answer may be delayed.
type call struct {
	srv   *Server
	obj   *mediaObject
	args  object
	given object // the arguments as they came
	pace  *pacing
}

// str returns a string argument, "" when it was not given.
func (c *call) str(name string) string {
	s, _ := c.args[name].(string)
	return s
}

// form is how a value of a type looks in JSON.
type form int

const (
	formString form = iota
	formInt
	formInt64
	formBool
	formDouble
	formFloat // a double that is stored in 32 bits
	formStruct
	formEnum
	formRef // id of an object
)

// formNames are the words of Kurento's error messages ("should be a integer").
var formNames = [...]string{"string", "integer", "int64", "boolean", "double", "double", "object", "string", "string"}

// A dataType is the type of a parameter, property or struct field.
type dataType struct {
	name   string
	form   form
	values []string  // of an enum
	fields []param   // of a struct
	parent *dataType // of a struct
	class  string    // of a reference
}

// extends tells whether t is the struct of that type or one built on it.
func (t *dataType) extends(base *dataType) bool {
	for ; t != nil; t = t.parent {
		if t == base {
			return true
		}
	}
	return false
}

// hierarchy lists the qualified names of the ancestors, nearest first.
func (c *class) hierarchy() []string {
	out := []string{}
	for a := c.parent; a != nil; a = a.parent {
		out = append(out, a.qualified())
	}
	return out
}

// qualified is the name with its module's prefix. All of Kurento's own modules
// share one.
func (c *class) qualified() string { return "kurento." + c.name }

// is tells whether c is the class of that name or a descendant of it.
func (c *class) is(name string) bool {
	for a := c; a != nil; a = a.parent {
		if a.name == name {
			return true
		}
	}
	return false
}

func (c *class) hasEvent(name string) bool {
	for a := c; a != nil; a = a.parent {
		if slices.Contains(a.events, name) {
			return true
		}
	}
	return false
}

// method finds what a call of that name does, as Kurento's generated code
// does: class by class towards the root; in each the operations first, then
// the getters and setters. The parameters play no part in the choice.
func (c *class) method(name string) (operation, bool) {
	for a := c; a != nil; a = a.parent {
		for i := range a.ops {
			if a.ops[i].name == name {
				return a.ops[i], true
			}
		}
		for i := range a.props {
			if op, ok := a.props[i].accessor(name); ok {
				return op, true
			}
		}
	}
	return operation{}, false
}

// accessor is the getter or setter of that name as an operation.
func (p *property) accessor(name string) (operation, bool) {
	capital := string(p.name[0]&^0x20) + p.name[1:]
	switch {
	case name == "get"+capital:
		return operation{name: name, run: func(c *call) (value, error) { return p.read(c.obj) }}, true
	case name == "set"+capital && !p.readOnly:
		return operation{name: name, raw: true, run: func(c *call) (value, error) { return nil, p.write(c) }}, true
	}
	return operation{}, false
}

func (p *property) read(o *mediaObject) (value, error) {
	if p.get != nil {
		return p.get(o)
	}
	return o.props[p.name], nil
}

// write checks the argument in the setter's own way: without operationParams
// the message is about the value, not about them.
func (p *property) write(c *call) error {
	v, err := c.srv.argument(param{name: p.name, typ: p.typ}, c.args, "parameter")
	if err != nil {
		return err
	}
	if p.set != nil {
		return p.set(c.obj, v)
	}
	c.obj.props[p.name] = v
	return nil
}

// basicTypes are the types that no module describes.
func basicTypes() map[string]*dataType {
	out := map[string]*dataType{}
	for name, f := range map[string]form{
		"String": formString, "int": formInt, "int64": formInt64, "boolean": formBool, "double": formDouble, "float": formFloat,
	} {
		out[name] = &dataType{name: name, form: f}
	}
	return out
}
