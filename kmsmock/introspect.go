package kmsmock

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// An Object describes a live object of the server.
type Object struct {
	ID       string   `json:"id"`
	Class    string   `json:"class"`              // without module, for example "WebRtcEndpoint"
	Parent   string   `json:"parent,omitempty"`   // id, "" for none
	Sessions []string `json:"sessions"`           // that refer to it, sorted
	Released bool     `json:"released,omitempty"` // was released and stays because of Faults.KeepReleased
}

func (s *Server) sortedObjects() []*mediaObject {
	return slices.SortedFunc(maps.Values(s.objects), func(a, b *mediaObject) int { return cmp.Compare(a.serial, b.serial) })
}

// Objects lists the live objects in the order of their creation, without the
// server manager.
func (s *Server) Objects() []Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Object
	for _, o := range s.sortedObjects() {
		if o == s.manager {
			continue
		}
		d := Object{ID: o.id, Class: o.class.name, Sessions: slices.Sorted(maps.Keys(o.holders)), Released: o.dead}
		if o.parent != nil {
			d.Parent = o.parent.id
		}
		out = append(out, d)
	}
	return out
}

// Left returns the ids of the objects that are left; none is what a clean
// client leaves behind.
func (s *Server) Left() []string {
	var ids []string
	for _, o := range s.Objects() {
		ids = append(ids, o.ID)
	}
	return ids
}

// Sessions lists the ids of the sessions that the server knows, sorted.
func (s *Server) Sessions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.sessions))
}

// Dump describes what the server holds, for people to read: pipelines as a
// tree with the states of endpoints, links and subscriptions, then sessions
// with their connections and how much they hold.
func (s *Server) Dump() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d objects, %d sessions\n", len(s.objects)-1, len(s.sessions))
	for _, o := range s.sortedObjects() {
		if o != s.manager && o.parent == nil {
			o.dump(&b, "")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.sessions)) {
		where := "no connection"
		if c := s.bound[id]; c != nil {
			where = fmt.Sprintf("connection %d", c.serial)
		}
		fmt.Fprintf(&b, "session %s: %s, holds %d\n", id, where, len(s.sessions[id].refs))
	}
	return b.String()
}

func (o *mediaObject) dump(b *strings.Builder, indent string) {
	fmt.Fprintf(b, "%s%s %s sessions=%d", indent, o.class.name, o.id, len(o.holders))
	if o.dead {
		b.WriteString(" released")
	}
	if ep, ok := o.impl.(*rtcEndpoint); ok {
		fmt.Fprintf(b, " ice=%s dtls=%s media=%s", cmp.Or(ep.media.ice.component[0], "NEW"), cmp.Or(ep.media.dtlsState[partDec], "NEW"), ep.presence.mediaState())
	}
	b.WriteString("\n")
	if e := elementOf(o); e != nil {
		for _, l := range e.links() {
			fmt.Fprintf(b, "%s  -> %s %s\n", indent, l.kind, l.sink.obj.id)
		}
	}
	for _, eventType := range slices.Sorted(maps.Keys(o.subs)) {
		for _, sub := range o.subs[eventType] {
			fmt.Fprintf(b, "%s  on %s: session %s\n", indent, eventType, sub.session)
		}
	}
	children := o.sortedChildren()
	slices.SortFunc(children, func(x, y *mediaObject) int { return cmp.Compare(x.serial, y.serial) })
	for _, child := range children {
		child.dump(b, indent+"  ")
	}
}
