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
	ID       string
	Class    string   // without module, for example "WebRtcEndpoint"
	Parent   string   // id, "" for none
	Sessions []string // that refer to it, sorted
	Released bool     // was released and stays because of Faults.KeepReleased
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

// Dump describes the server's objects and sessions for people to read.
func (s *Server) Dump() string {
	var b strings.Builder
	objects := s.Objects()
	fmt.Fprintf(&b, "%d objects, %d sessions\n", len(objects), len(s.Sessions()))
	for _, o := range objects {
		depth := strings.Count(o.ID, "/")
		fmt.Fprintf(&b, "%s%s %s sessions=%d", strings.Repeat("  ", depth), o.Class, o.ID, len(o.Sessions))
		if o.Released {
			b.WriteString(" released")
		}
		b.WriteString("\n")
	}
	return b.String()
}
