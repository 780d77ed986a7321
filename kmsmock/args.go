package kmsmock

import (
	"math"
	"slices"
	"strconv"
)

// arguments checks the named arguments of an operation or constructor, in the
// order in which the parameters are declared. member is "operationParams" or
// "constructorParams".
func (s *Server) arguments(params []param, given value, member string) (object, error) {
	in, isObject := given.(object)
	if !isObject {
		required := slices.ContainsFunc(params, func(p param) bool { return !p.optional })
		switch {
		case given != nil:
			return nil, errMarshal("'%s' should be an object", member)
		case required:
			return nil, errMarshal("'%s' is required", member)
		}
	}
	out := object{}
	for _, p := range params {
		if _, ok := in[p.name]; !ok && p.optional {
			if p.def != nil {
				out[p.name] = p.def
			}
			continue
		}
		v, err := s.argument(p, in, "parameter")
		if err != nil {
			return nil, err
		}
		out[p.name] = v
	}
	return out, nil
}

// argument converts one member of in to the type of p. word says whether the
// message speaks of a "parameter" or of a "property" (field of a struct).
func (s *Server) argument(p param, in object, word string) (value, error) {
	raw, ok := in[p.name]
	if ok {
		raw, ok = convert(p.typ.form, raw)
	}
	if !ok {
		return nil, errMarshal("'%s' %s should be a %s", p.name, word, formNames[p.typ.form])
	}
	switch p.typ.form {
	case formEnum:
		if !slices.Contains(p.typ.values, raw.(string)) {
			return nil, errMarshal("Invalid value for '%s'", p.typ.name)
		}
	case formStruct:
		return s.structure(p.typ, raw.(object))
	case formRef:
		return s.reference(p.typ.class, raw.(string))
	}
	return raw, nil
}

// structure checks the fields of a struct.
func (s *Server) structure(t *dataType, in object) (value, error) {
	if err := s.checkType(t, in); err != nil {
		return nil, err
	}
	out := object{}
	for _, field := range t.fields {
		if _, ok := in[field.name]; !ok && field.optional {
			continue
		}
		v, err := s.argument(field, in, "property")
		if err != nil {
			return nil, err
		}
		out[field.name] = v
	}
	return out, nil
}

// checkType looks at the name of the type that a struct has with it. Only one
// that names a module too counts; it is looked up in a table of constructors,
// and calling what is not there is an error of its own.
func (s *Server) checkType(t *dataType, in object) error {
	name, ok1 := toString(in["__type__"])
	module, ok2 := toString(in["__module__"])
	_, named := in["__type__"]
	_, placed := in["__module__"]
	if !named || !placed || !ok1 || !ok2 {
		return nil
	}
	given := s.model.types[name.(string)]
	switch {
	case module != "kurento" || given == nil || given.form != formStruct:
		return errUnexpected("bad_function_call")
	case !given.extends(t):
		return failf(40003, "UNEXPECTED_ERROR", "Type %s is not compatible", given.name)
	}
	return nil
}

// reference finds the object that an id names. One of another class is a null
// pointer to Kurento, which shows when it is used.
func (s *Server) reference(className, id string) (value, error) {
	o, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if !o.class.is(className) {
		return (*mediaObject)(nil), nil
	}
	return o, nil
}

// strange tells whether one of the arguments is an object of a wrong class.
func strange(args object) bool {
	for _, v := range args {
		if o, ok := v.(*mediaObject); ok && o == nil {
			return true
		}
	}
	return false
}

// crash is a call that Kurento does not survive.
func crash(c *call) (value, error) {
	return nil, c.srv.accident("a call to "+c.obj.class.name, errUnexpected("bad_weak_ptr"))
}

func badPointer(*call) (value, error) { return nil, errUnexpected("bad_weak_ptr") }

// convert is jsoncpp's isConvertibleTo and the conversion itself.
func convert(f form, v value) (value, bool) {
	switch f {
	case formString, formEnum, formRef:
		return toString(v)
	case formInt:
		return toInt(v, math.MinInt32, math.MaxInt32)
	case formInt64:
		return toInt(v, math.MinInt64, math.MaxInt64)
	case formBool:
		return toBool(v)
	case formDouble, formFloat:
		return toDouble(v, f == formFloat)
	case formStruct:
		if v == nil {
			return object{}, true
		}
		o, ok := v.(object)
		return o, ok
	}
	return nil, false
}

func toString(v value) (value, bool) {
	switch is := v.(type) {
	case string:
		return v, true
	case nil:
		return "", true
	case bool:
		return strconv.FormatBool(is), true
	case int64, uint64, float64:
		return string(appendJSON(nil, v)), true
	}
	return nil, false
}

func toInt(v value, low, high int64) (value, bool) {
	switch v := v.(type) {
	case int64:
		return v, v >= low && v <= high
	case float64:
		return int64(v), v >= float64(low) && v <= float64(high)
	case bool:
		if v {
			return int64(1), true
		}
		return int64(0), true
	case nil:
		return int64(0), true
	}
	return nil, false
}

func toBool(v value) (value, bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case nil:
		return false, true
	case int64:
		return v != 0, true
	case uint64:
		return v != 0, true
	case float64:
		return v != 0, true
	}
	return nil, false
}

func toDouble(v value, single bool) (value, bool) {
	var f float64
	switch v := v.(type) {
	case float64:
		f = v
	case int64:
		f = float64(v)
	case uint64:
		f = float64(v)
	case nil:
	case bool:
		if v {
			f = 1
		}
	default:
		return nil, false
	}
	if single {
		f = float64(float32(f))
	}
	return f, true
}
