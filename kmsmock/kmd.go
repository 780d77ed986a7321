package kmsmock

import "slices"

// getKmd describes a module in the form of Kurento's .kmd.json files, made from
// the classes that this server has. Documentation is left out.
func getKmd(c *call) (value, error) {
	name := c.str("moduleName")
	if !slices.Contains(moduleNames, name) {
		return nil, failf(40500, "UNDEFINED", "Requested kmd module doesn't exist")
	}
	remote := array{}
	for _, cl := range moduleClasses(name) {
		remote = append(remote, cl.describe())
	}
	return string(appendJSON(nil, object{
		"name": name, "version": version, "kurentoVersion": version, "imports": array{}, "remoteClasses": remote,
	})), nil
}

// moduleClasses are the classes of a module with their ancestors, which all
// belong to core.
func moduleClasses(name string) []*class {
	var out []*class
	add := func(cl *class) {
		if !slices.Contains(out, cl) {
			out = append(out, cl)
		}
	}
	for _, cl := range creatable {
		if cl.module == name {
			add(cl)
		}
		for a := cl.parent; a != nil && name == "core"; a = a.parent {
			add(a)
		}
	}
	return out
}

func (c *class) describe() object {
	out := object{"name": c.name, "methods": describeOperations(c.ops), "properties": describeProperties(c.props), "events": c.events}
	if c.events == nil {
		out["events"] = array{}
	}
	if c.parent != nil {
		out["extends"] = c.parent.name
	}
	if c.abstract {
		out["abstract"] = true
	} else {
		out["constructor"] = object{"params": describeParams(c.ctor)}
	}
	return out
}

func describeOperations(ops []operation) array {
	out := array{}
	for _, op := range ops {
		out = append(out, object{"name": op.name, "params": describeParams(op.params)})
	}
	return out
}

func describeParams(params []param) array {
	out := array{}
	for _, p := range params {
		d := object{"name": p.name, "type": p.typ.name}
		if p.optional {
			d["optional"] = true
		}
		if p.def != nil {
			d["defaultValue"] = p.def
		}
		out = append(out, d)
	}
	return out
}

func describeProperties(props []property) array {
	out := array{}
	for _, p := range props {
		d := object{"name": p.name, "type": p.typ.name}
		if p.readOnly {
			d["readOnly"] = true
		}
		out = append(out, d)
	}
	return out
}
