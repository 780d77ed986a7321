package kmsmock

import (
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// A mediaKind is one of the three media that elements exchange.
type mediaKind uint8

const (
	kindAudio mediaKind = iota
	kindVideo
	kindData
)

// allKinds is the order in which Kurento connects the media of two elements.
var allKinds = []mediaKind{kindAudio, kindVideo, kindData}

// listedKinds is the order in which it lists connections.
var listedKinds = []mediaKind{kindAudio, kindData, kindVideo}

var kindNames = [...]string{"AUDIO", "VIDEO", "DATA"}

func (k mediaKind) String() string { return kindNames[k] }

func kindNamed(name string) mediaKind { return mediaKind(slices.Index(kindNames[:], name)) }

// A link is a connection of one medium between two elements.
type link struct {
	source, sink *element
	kind         mediaKind
}

// An element is the behaviour of a MediaElement: its connections, its flow
// states, and on the media path the list of elements that it feeds. By itself
// it passes media through.
type element struct {
	obj      *mediaObject
	gst      string     // GStreamer's name of the element
	incoming [3]*link   // the one source of each medium
	outgoing [3][]*link // in the order of connecting
	in, out  [2]flow
	closed   bool

	// routes are the sinks of each medium as the media path reads them.
	routes [2]atomic.Pointer[[]*element]
	pulled [2]atomic.Bool // whether a transcoding state has been reported
	port   mediaPort      // nil: pass media through
}

// A mediaPort is where media leaves the graph of elements.
type mediaPort interface {
	// deliver sends a packet; false means that it cannot go out yet.
	deliver(p *packet) bool
	// accepts tells whether media of a codec can leave without transcoding.
	accepts(c *codec) bool
}

// newElement returns the element of an object. kind is the name of its GStreamer
// element, whose instances the server numbers.
func newElement(o *mediaObject, kind string) *element {
	return &element{obj: o, gst: o.srv.gstName(kind)}
}

// gstName numbers the GStreamer elements of a kind, as GStreamer does.
func (s *Server) gstName(kind string) string {
	n := s.gstNames[kind]
	s.gstNames[kind] = n + 1
	return kind + strconv.Itoa(n)
}

// buildPassThrough makes an element that hands on what it gets, which is all
// that elements without an implementation of their own do.
func buildPassThrough(o *mediaObject, _ object) error {
	o.impl = newElement(o, "kms"+strings.ToLower(o.class.name))
	return nil
}

func (e *element) base() *element { return e }

// elementOf returns the element of an object, nil for one that has none. A
// behaviour that is more than an element embeds one.
func elementOf(o *mediaObject) *element {
	if impl, ok := o.impl.(interface{ base() *element }); ok {
		return impl.base()
	}
	return nil
}

func (e *element) links() []*link {
	var out []*link
	for _, k := range listedKinds {
		out = append(out, e.outgoing[k]...)
	}
	return out
}

// kindsOf are the media that a call to connect or disconnect is about.
func kindsOf(c *call) []mediaKind {
	if name := c.str("mediaType"); name != "" {
		return []mediaKind{kindNamed(name)}
	}
	return allKinds
}

func connectElements(c *call) (value, error) {
	source, sink := elementOf(c.obj), elementOf(c.args["sink"].(*mediaObject))
	if c.obj.pipeline() != sink.obj.pipeline() {
		return nil, failf(40004, "CONNECT_ERROR", "Media elements do not share pipeline")
	}
	for _, k := range kindsOf(c) {
		source.connect(sink, k)
	}
	c.srv.reroute()
	return nil, nil
}

// connect links one medium. A sink has one source: the old one is let go, even
// if it is the same.
func (e *element) connect(sink *element, k mediaKind) {
	if old := sink.incoming[k]; old != nil {
		old.source.unlink(old)
		old.report("ElementDisconnected")
	}
	l := &link{source: e, sink: sink, kind: k}
	e.outgoing[k] = append(e.outgoing[k], l)
	sink.incoming[k] = l
	if port, ok := sink.port.(interface{ restart(mediaKind) }); ok {
		port.restart(k)
	}
	l.report("ElementConnected")
}

func disconnectElements(c *call) (value, error) {
	source, sink := elementOf(c.obj), elementOf(c.args["sink"].(*mediaObject))
	for _, k := range kindsOf(c) {
		source.disconnect(sink, k)
	}
	c.srv.reroute()
	return nil, nil
}

// disconnect reports the end of a connection whether there was one or not. As
// in Kurento the sink forgets its source even if that was another element,
// which then goes on sending.
func (e *element) disconnect(sink *element, k mediaKind) {
	l := &link{source: e, sink: sink, kind: k}
	if i := slices.IndexFunc(e.outgoing[k], func(x *link) bool { return x.sink == sink }); i >= 0 {
		l = e.outgoing[k][i]
		e.unlink(l)
	}
	sink.incoming[k] = nil
	l.report("ElementDisconnected")
}

// unlink takes a link out at both ends.
func (e *element) unlink(l *link) {
	e.outgoing[l.kind] = slices.DeleteFunc(e.outgoing[l.kind], func(x *link) bool { return x == l })
	if l.sink.incoming[l.kind] == l {
		l.sink.incoming[l.kind] = nil
	}
}

// report sends the event of a link, which comes from its source alone.
func (l *link) report(eventType string) {
	o := l.source.obj
	o.srv.emit(o, eventType, object{
		"mediaType": l.kind.String(), "sink": l.sink.obj.id,
		"sinkMediaDescription": "default", "sourceMediaDescription": "default",
	})
}

// release cuts the element's links. Its sources report that; it cannot itself.
func (e *element) release() func() {
	for _, k := range allKinds {
		if l := e.incoming[k]; l != nil && l.source != e {
			l.source.unlink(l)
			l.report("ElementDisconnected")
		}
		for _, l := range slices.Clone(e.outgoing[k]) {
			e.unlink(l)
		}
	}
	e.forgotten()
	e.closed = true
	for i := range e.in {
		e.in[i].stop()
		e.out[i].stop()
	}
	e.obj.srv.reroute()
	return func() {}
}

// forgotten takes the element off those that still feed it although it has
// forgotten them (see disconnect).
func (e *element) forgotten() {
	for _, other := range e.obj.srv.elements() {
		for _, k := range allKinds {
			other.outgoing[k] = slices.DeleteFunc(other.outgoing[k], func(l *link) bool { return l.sink == e })
		}
	}
}

func getSourceConnections(c *call) (value, error) {
	out := array{}
	for _, k := range listedKinds {
		if l := elementOf(c.obj).incoming[k]; l != nil && l.matches(c) {
			out = append(out, l.data())
		}
	}
	return out, nil
}

func getSinkConnections(c *call) (value, error) {
	out := array{}
	for _, l := range elementOf(c.obj).links() {
		if l.matches(c) {
			out = append(out, l.data())
		}
	}
	return out, nil
}

func (l *link) matches(c *call) bool {
	name, description := c.str("mediaType"), c.str("description")
	return (name == "" || name == l.kind.String()) && (description == "" || description == "default")
}

func (l *link) data() object {
	return kurentoStruct("ElementConnectionData", object{
		"source": l.source.obj.id, "sink": l.sink.obj.id, "type": l.kind.String(),
		"sourceDescription": "default", "sinkDescription": "default",
	})
}

// reroute works out for every element where its media goes, faults included.
// The lock is held.
func (s *Server) reroute() {
	elements := s.elements()
	for _, e := range elements {
		for _, k := range allKinds[:2] {
			sinks := s.sinksOf(e, k, elements)
			e.routes[k].Store(&sinks)
		}
	}
}

func (s *Server) elements() []*element {
	var out []*element
	for _, o := range s.sortedObjects() {
		if e := elementOf(o); e != nil {
			out = append(out, e)
		}
	}
	return out
}

func (s *Server) sinksOf(e *element, k mediaKind, all []*element) []*element {
	links := e.outgoing[k]
	switch {
	case e.closed || len(links) == 0:
		return nil
	case s.faults.CrossMedia == CrossOwn:
		return []*element{e}
	case s.faults.CrossMedia == CrossCalls:
		links = strangerLinks(e, k, all)
	}
	var sinks []*element
	for _, l := range links {
		sinks = append(sinks, l.sink)
	}
	return sinks
}

// strangerLinks are the links of the element that has e's place in the next
// pipeline, the pipelines taken in a circle.
func strangerLinks(e *element, k mediaKind, all []*element) []*link {
	byPipeline := map[*mediaObject][]*element{}
	var pipelines []*mediaObject
	for _, x := range all {
		p := x.obj.pipeline()
		if byPipeline[p] == nil {
			pipelines = append(pipelines, p)
		}
		byPipeline[p] = append(byPipeline[p], x)
	}
	own := e.obj.pipeline()
	next := byPipeline[pipelines[(slices.Index(pipelines, own)+1)%len(pipelines)]]
	twin := next[slices.Index(byPipeline[own], e)%len(next)]
	return twin.outgoing[k]
}
