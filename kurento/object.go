package kurento

import (
	"context"
	"strings"
)

// ObjectID names an object of KMS: "<uuid>_kurento.MediaPipeline", and for a
// child the id of its parent, a slash and its own. Whoever knows an id may use
// the object, in any session.
type ObjectID string

// Parent returns the id of the object that id is a child of, or "".
func (id ObjectID) Parent() ObjectID {
	i := strings.LastIndexByte(string(id), '/')
	return id[:max(i, 0)]
}

// root returns the id of the outermost parent, id itself if it has none.
func (id ObjectID) root() ObjectID {
	if i := strings.IndexByte(string(id), '/'); i >= 0 {
		return id[:i]
	}
	return id
}

// within reports whether id is ancestor or a descendant of it.
func (id ObjectID) within(ancestor ObjectID) bool {
	rest, ok := strings.CutPrefix(string(id), string(ancestor))
	return ok && (rest == "" || rest[0] == '/')
}

// Object is a handle of an object of KMS. It holds no state: any number of
// handles may stand for one object.
type Object struct {
	client *Client
	id     ObjectID
}

// Object returns a handle of an object that exists already.
func (c *Client) Object(id ObjectID) Object { return Object{c, id} }

// ID returns the id of the object.
func (o Object) ID() ObjectID { return o.id }

// Invoke calls an operation of the object, see Client.Invoke.
func (o Object) Invoke(ctx context.Context, operation string, params, result any) error {
	return o.client.Invoke(ctx, o.id, operation, params, result)
}

// Get reads a property, named as in Kurento's documentation ("turnUrl"), into
// result.
func (o Object) Get(ctx context.Context, property string, result any) error {
	return o.Invoke(ctx, accessor("get", property), nil, result)
}

// Set writes a property, named as in Kurento's documentation ("turnUrl").
func (o Object) Set(ctx context.Context, property string, value any) error {
	return o.Invoke(ctx, accessor("set", property), map[string]any{property: value}, nil)
}

// accessor returns such as "getTurnUrl" for "turnUrl".
func accessor(verb, property string) string {
	if property == "" {
		return verb
	}
	return verb + strings.ToUpper(property[:1]) + property[1:]
}

// Subscribe hands the object's events to handler, see Client.Subscribe.
func (o Object) Subscribe(ctx context.Context, handler func(Event), types ...EventType) (*Subscription, error) {
	return o.client.Subscribe(ctx, o.id, handler, types...)
}

// Children returns the ids of the object's children.
func (o Object) Children(ctx context.Context) ([]ObjectID, error) {
	var ids []ObjectID
	err := o.Get(ctx, "children", &ids)
	return ids, err
}

// Release destroys the object and its children, see Client.Release.
func (o Object) Release(ctx context.Context) error { return o.client.Release(ctx, o.id) }
