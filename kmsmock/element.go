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

// defaultDescription names the one stream of each medium that elements have.
// Kurento keeps books of others too, but no media goes their way.
const defaultDescription = "default"

// A link is a connection of one medium between two elements. from and to are
// its media descriptions at the source and the sink.
type link struct {
	source, sink *element
	kind         mediaKind
	from, to     string
}

// An element is the behaviour of a MediaElement: its connections, its flow
// states, and on the media path the list of elements that it feeds. By itself
// it passes media through.
type element struct {
	obj      *mediaObject
	gst      string     // GStreamer's name of the element
	incoming [3][]*link // one source for each description, in their order
	outgoing [3][]*link // by description, then in the order of connecting
	in, out  [2]flow
	closed   bool

	// routes are the sinks of each medium as the media path reads them.
	routes    [2]atomic.Pointer[[]*element]
	pulled    [2]atomic.Bool           // whether the transcoding state is as reported
	given     [2]atomic.Pointer[codec] // of the last packet that came out
	state     [2]string                // reported last
	raw       [2]bool                  // decodes a medium to work on it
	blocked   [2]atomic.Uint32         // what a command does to the media
	blockings [2]int                   // counts such commands
	port      mediaPort                // nil: pass media through
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
// that elements without an implementation of their own do. Filters would work
// on decoded media.
func buildPassThrough(o *mediaObject, args object) error {
	if o.class.is("Filter") {
		o.impl = newFilter(o, args)
		return nil
	}
	o.impl = newElement(o, "kms"+strings.ToLower(o.class.name))
	return nil
}

func newFilter(o *mediaObject, args object) *element {
	e := newElement(o, "kmsfilterelement")
	e.raw = [2]bool{kindVideo: true}
	if args["filterType"] == "AUDIO" {
		e.raw = [2]bool{kindAudio: true}
	}
	return e
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

// linksOf are the connections that a call to connect or disconnect is about.
// Without a mediaType Kurento takes all media and no notice of descriptions.
func linksOf(c *call) []*link {
	source, sink := elementOf(c.obj), elementOf(c.args["sink"].(*mediaObject))
	name, ok := c.args["mediaType"].(string)
	if !ok {
		var out []*link
		for _, k := range allKinds {
			out = append(out, &link{source, sink, k, defaultDescription, defaultDescription})
		}
		return out
	}
	l := &link{source, sink, kindNamed(name), defaultDescription, defaultDescription}
	if from, ok := c.args["sourceMediaDescription"].(string); ok {
		l.from = from
		if to, ok := c.args["sinkMediaDescription"].(string); ok {
			l.to = to
		}
	}
	return []*link{l}
}

func connectElements(c *call) (value, error) {
	sink := c.args["sink"].(*mediaObject)
	if c.obj.pipeline() != sink.pipeline() {
		return nil, failf(40004, "CONNECT_ERROR", "Media elements do not share pipeline")
	}
	for _, l := range linksOf(c) {
		l.connect()
		if l.endless() {
			return crash(c)
		}
	}
	c.srv.reroute(c.obj.pipeline())
	c.obj.pipeline().wakeHubs()
	return nil, nil
}

// connect makes the connection. A sink has one source for a description: the
// old one is let go, even if it is the same, and speaks of the description
// that the new one has at the source.
func (l *link) connect() {
	if old := l.sink.fed(l.kind, l.to); old != nil {
		(&link{old.source, l.sink, l.kind, l.from, l.to}).disconnect()
	}
	out := &l.source.outgoing[l.kind]
	at := slices.IndexFunc(*out, func(x *link) bool { return x.from > l.from })
	if at < 0 {
		at = len(*out)
	}
	*out = slices.Insert(*out, at, l)
	in := &l.sink.incoming[l.kind]
	*in = slices.DeleteFunc(*in, func(x *link) bool { return x.to == l.to })
	if at = slices.IndexFunc(*in, func(x *link) bool { return x.to > l.to }); at < 0 {
		at = len(*in)
	}
	*in = slices.Insert(*in, at, l)
	if port, ok := l.sink.port.(interface{ restart(mediaKind) }); ok {
		port.restart(l.kind)
	}
	l.report("ElementConnected")
}

// fed is the link that brings a sink a medium, nil for none.
func (e *element) fed(k mediaKind, description string) *link {
	if i := slices.IndexFunc(e.incoming[k], func(x *link) bool { return x.to == description }); i >= 0 {
		return e.incoming[k][i]
	}
	return nil
}

func disconnectElements(c *call) (value, error) {
	for _, l := range linksOf(c) {
		l.disconnect()
	}
	c.srv.reroute(c.obj.pipeline())
	return nil, nil
}

// disconnect reports the end of a connection whether there was one or not. As
// in Kurento the sink forgets its source even if that was another element,
// which then goes on sending; a source that a sink has forgotten cannot be
// disconnected from it.
func (l *link) disconnect() {
	if in := l.sink.fed(l.kind, l.to); in != nil {
		if in.from == l.from {
			l.sink.drop(in)
		}
		out := l.source.outgoing[l.kind]
		same := func(x *link) bool { return x.sink == l.sink && x.from == l.from && x.to == l.to }
		if i := slices.IndexFunc(out, same); i >= 0 {
			l.source.outgoing[l.kind] = slices.Delete(out, i, i+1)
		}
	}
	l.report("ElementDisconnected")
}

// drop forgets a link at its sink.
func (e *element) drop(l *link) {
	e.incoming[l.kind] = slices.DeleteFunc(e.incoming[l.kind], func(x *link) bool { return x == l })
}

// report sends the event of a link, which comes from its source alone.
func (l *link) report(eventType string) {
	o := l.source.obj
	o.srv.emit(o, eventType, object{
		"mediaType": l.kind.String(), "sink": l.sink.obj.id,
		"sinkMediaDescription": l.to, "sourceMediaDescription": l.from,
	})
}

// release cuts the element's links. Its sources report that; it cannot itself.
func (e *element) release() func() {
	for _, k := range listedKinds {
		for _, l := range e.outgoing[k] {
			l.sink.drop(l)
		}
		e.outgoing[k] = nil
		for _, l := range slices.Clone(e.incoming[k]) {
			if l.source != e {
				l.disconnect()
			}
		}
	}
	e.forgotten()
	e.closed = true
	for i := range e.in {
		e.in[i].stop()
		e.out[i].stop()
	}
	e.obj.srv.reroute(e.obj.pipeline())
	return func() {}
}

// forgotten takes the element off those that still feed it although it has
// forgotten them (see disconnect).
func (e *element) forgotten() {
	for _, other := range e.obj.pipeline().elements() {
		for _, k := range allKinds {
			other.outgoing[k] = slices.DeleteFunc(other.outgoing[k], func(l *link) bool { return l.sink == e })
		}
	}
}

func getSourceConnections(c *call) (value, error) {
	out := array{}
	for _, k := range listedKinds {
		for _, l := range elementOf(c.obj).incoming[k] {
			if l.matches(c, l.to) {
				out = append(out, l.data())
			}
		}
	}
	return out, nil
}

func getSinkConnections(c *call) (value, error) {
	out := array{}
	for _, l := range elementOf(c.obj).links() {
		if l.matches(c, l.from) {
			out = append(out, l.data())
		}
	}
	return out, nil
}

// matches tells whether a link is asked for. A description counts only together
// with a mediaType.
func (l *link) matches(c *call, own string) bool {
	name, ok := c.args["mediaType"].(string)
	if !ok {
		return true
	}
	description, ok := c.args["description"].(string)
	return name == l.kind.String() && (!ok || description == own)
}

func (l *link) data() object {
	return kurentoStruct("ElementConnectionData", object{
		"source": l.source.obj.id, "sink": l.sink.obj.id, "type": l.kind.String(),
		"sourceDescription": l.from, "sinkDescription": l.to,
	})
}

// reroute works out for every element of a pipeline where its media goes,
// faults included; nil stands for all pipelines. The lock is held.
func (s *Server) reroute(pipeline *mediaObject) {
	var elements []*element
	if pipeline == nil || s.faults.CrossMedia == CrossCalls {
		elements = s.elements()
	} else {
		elements = pipeline.elements()
	}
	for _, e := range elements {
		for _, k := range allKinds[:2] {
			sinks := s.sinksOf(e, k, elements)
			e.routes[k].Store(&sinks)
		}
	}
	recheckPulls(elements)
}

// recheckPulls has elements look again at what is pulled from them.
func recheckPulls(elements []*element) {
	for _, e := range elements {
		for _, k := range allKinds[:2] {
			e.pulled[k].Store(false)
			c, sinks := e.given[k].Load(), e.routes[k].Load()
			if c != nil && sinks != nil && slices.ContainsFunc(*sinks, func(sink *element) bool { return sink.linksAtOnce(k) }) {
				e.pull(k, c, *sinks)
			}
		}
	}
}

// linksAtOnce tells whether a source that has given media before is linked to the
// element as soon as they are connected, without waiting for more of it.
func (e *element) linksAtOnce(k mediaKind) bool {
	port, ok := e.port.(waitingPort)
	return ok && port.takes(k)
}

func (s *Server) elements() []*element { return elementsAmong(s.sortedObjects()) }

// elements are those of a pipeline, in the order of their creation. Media stays
// within a pipeline, so that nothing else need be looked at on a change.
func (o *mediaObject) elements() []*element { return elementsAmong(o.descendants()) }

func elementsAmong(objects []*mediaObject) []*element {
	var out []*element
	for _, o := range objects {
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
		if l.from == defaultDescription && l.to == defaultDescription {
			sinks = append(sinks, l.sink)
		}
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
