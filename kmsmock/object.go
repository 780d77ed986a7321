package kmsmock

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// A mediaObject is one live object of the server. Everything in it is guarded
// by the server's lock.
type mediaObject struct {
	srv      *Server
	id       string
	class    *class
	parent   *mediaObject
	children map[string]*mediaObject
	holders  map[string]bool // ids of the sessions that refer to it
	name     string          // "" stands for the id
	tags     map[string]string
	created  time.Time
	props    map[string]value
	subs     map[string][]*subscription // by event type, in order of subscription
	impl     behaviour
	serial   int // counts the objects of the server
	dead     bool
}

// behaviour is what an object does besides having properties.
type behaviour interface {
	// release detaches the object from its neighbours and returns what is
	// left to stop without the server's lock. It is called with the lock held.
	release() (stop func())
}

// A subscription makes one session receive one type of event of one object.
type subscription struct {
	id        string
	session   string
	eventType string
	lastDue   time.Time // of the last event when they are shuffled
}

// create makes an object. Whoever holds the parent holds it too.
func (s *Server) create(c *class, sessionID string, args object) (*mediaObject, error) {
	parent, _ := parentOf(c, args)
	if parent != nil && parent.dead {
		return nil, errNotFound(parent.id)
	}
	o := &mediaObject{
		srv: s, class: c, parent: parent, created: time.Now(), serial: s.serial + 1,
		children: map[string]*mediaObject{}, holders: map[string]bool{}, tags: map[string]string{},
		props: map[string]value{}, subs: map[string][]*subscription{},
	}
	o.id = s.uuid() + "_" + c.qualified()
	if parent != nil {
		o.id = parent.id + "/" + o.id
	}
	o.fillDefaults()
	o.fillGiven(args)
	if c.build != nil {
		if err := c.build(o, args); err != nil {
			return nil, err
		}
	}
	s.adopt(o, sessionID)
	return o, nil
}

// parentOf picks the parent among the constructor's arguments: its first reference.
func parentOf(c *class, args object) (*mediaObject, bool) {
	for _, p := range c.ctor {
		if p.typ.form == formRef {
			o, ok := args[p.name].(*mediaObject)
			return o, ok
		}
	}
	return nil, false
}

func (s *Server) adopt(o *mediaObject, sessionID string) {
	s.serial++
	s.objects[o.id] = o
	if o.parent != nil {
		o.parent.children[o.id] = o
		for holder := range o.parent.holders {
			s.hold(holder, o)
		}
	}
	s.hold(sessionID, o)
	s.logObject("kms.object.created", o)
	s.emit(s.manager, "ObjectCreated", object{"object": o.id})
}

func (o *mediaObject) fillDefaults() {
	for c := o.class; c != nil; c = c.parent {
		for _, p := range c.props {
			if p.fresh != nil {
				o.props[p.name] = p.fresh
			}
		}
	}
}

// fillGiven gives properties that the constructor has a parameter for the
// value that it was called with.
func (o *mediaObject) fillGiven(args object) {
	for c := o.class; c != nil; c = c.parent {
		for _, p := range c.props {
			if v, ok := args[p.name]; ok && p.typ.form != formRef {
				o.props[p.name] = v
			}
		}
	}
}

func (o *mediaObject) sortedChildren() []*mediaObject {
	out := make([]*mediaObject, 0, len(o.children))
	for _, id := range slices.Sorted(maps.Keys(o.children)) {
		out = append(out, o.children[id])
	}
	return out
}

// descendants are all objects below o in the order of their creation.
func (o *mediaObject) descendants() []*mediaObject {
	var out []*mediaObject
	for below := []*mediaObject{o}; len(below) > 0; below = below[1:] {
		for _, child := range below[0].children {
			below, out = append(below, child), append(out, child)
		}
	}
	slices.SortFunc(out, func(a, b *mediaObject) int { return cmp.Compare(a.serial, b.serial) })
	return out
}

func (o *mediaObject) childIDs() []string {
	out := slices.Sorted(maps.Keys(o.children))
	if out == nil {
		out = []string{}
	}
	return out
}

// pipeline is the pipeline that the object belongs to or is, nil for the manager.
func (o *mediaObject) pipeline() *mediaObject {
	for ; o != nil; o = o.parent {
		if o.class.name == "MediaPipeline" {
			return o
		}
	}
	return nil
}

func (o *mediaObject) displayName() string {
	if o.name == "" {
		return o.id
	}
	return o.name
}

func (o *mediaObject) subscribe(sub *subscription) {
	o.subs[sub.eventType] = append(o.subs[sub.eventType], sub)
}

func (o *mediaObject) unsubscribe(sub *subscription) {
	list := o.subs[sub.eventType]
	o.subs[sub.eventType] = slices.DeleteFunc(list, func(x *subscription) bool { return x == sub })
}

// tagList is the tags as Kurento sends them, in the order of their keys.
func (o *mediaObject) tagList() array {
	out := array{}
	for _, key := range slices.Sorted(maps.Keys(o.tags)) {
		out = append(out, kurentoStruct("Tag", object{"key": key, "value": o.tags[key]}))
	}
	return out
}

// idOf is an object's id as a JSON value, null for none.
func idOf(o *mediaObject) value {
	if o == nil {
		return nil
	}
	return o.id
}

// kurentoStruct adds the members that mark a struct of Kurento's type system.
func kurentoStruct(typeName string, fields object) object {
	fields["__module__"] = "kurento"
	fields["__type__"] = typeName
	return fields
}
