package kmsmock

import (
	"log/slog"
	"strconv"
	"time"
)

// emit sends an event of o to every session that subscribed to its type; more
// than one subscription of a session still makes one event. Sessions that no
// connection is bound to miss it. The server's lock is held.
func (s *Server) emit(o *mediaObject, eventType string, data object) {
	s.emitIn(o, eventType, data, s.pace.event)
}

// emitIn sends an event that takes delay to reach the connection.
func (s *Server) emitIn(o *mediaObject, eventType string, data object, delay time.Duration) {
	s.logEvent(o, eventType, data)
	subs := o.subs[eventType]
	if len(subs) == 0 {
		return
	}
	frame := eventFrame(o, eventType, data)
	for i, sub := range subs {
		if sentBefore(subs[:i], sub.session) {
			continue
		}
		if c := s.bound[sub.session]; c != nil {
			s.report(c, o, sub, frame, delay)
		}
	}
}

// report sends an event to one session, if the rules let it.
func (s *Server) report(c *conn, o *mediaObject, sub *subscription, frame []byte, delay time.Duration) {
	due := time.Now().Add(delay)
	if s.cfg.Shuffle {
		due = s.shuffled(sub, due.Add(-min(delay, s.pace.event)))
	}
	if len(s.rules) == 0 {
		c.send(o, frame, due)
		return
	}
	f := s.judge(subject{Match: Match{Event: sub.eventType, Object: o.id, Session: sub.session}, class: o.class})
	due = due.Add(f.delay)
	c.meet(f, func() { c.send(o, frame, due) }, func() { c.outbox.behindNext(frame) })
}

// shuffleRange is within what the recordings show of events that have one
// cause: they and the answer to it come within a millisecond, in any order.
const shuffleRange = time.Millisecond

// shuffled delays an event at random, so that it may overtake others and the
// answer to its cause. The events of one type of an object keep their order.
func (s *Server) shuffled(sub *subscription, due time.Time) time.Time {
	due = due.Add(time.Duration(s.dice.Int64N(int64(shuffleRange))))
	if !due.After(sub.lastDue) {
		due = sub.lastDue.Add(time.Microsecond)
	}
	sub.lastDue = due
	return due
}

func sentBefore(subs []*subscription, sessionID string) bool {
	for _, sub := range subs {
		if sub.session == sessionID {
			return true
		}
	}
	return false
}

// eventFrame is the message on the wire. Events of the server manager, and
// only those, have no type inside data. Error events keep their own.
func eventFrame(o *mediaObject, eventType string, data object) []byte {
	data["source"] = o.id
	data["tags"] = array{}
	if o.props["sendTagsInEvents"] == true {
		data["tags"] = o.tagList()
	}
	data["timestampMillis"] = strconv.FormatInt(time.Now().UnixMilli(), 10)
	if _, own := data["type"]; !own && eventType != "ObjectCreated" && eventType != "ObjectDestroyed" {
		data["type"] = eventType
	}
	return appendJSON(nil, object{
		"jsonrpc": "2.0",
		"method":  "onEvent",
		"params":  object{"value": object{"data": data, "object": o.id, "type": eventType}},
	})
}

// emitDestroyed reports the end of an object. That takes longer than other
// events: the object dies on a worker thread, after the answer to release.
func (s *Server) emitDestroyed(o *mediaObject) {
	s.emitIn(s.manager, "ObjectDestroyed", object{"objectId": o.id}, s.pace.destroyed)
}

// loggedMembers are the members of an event that go into the log; none holds
// an SDP body or a secret.
var loggedMembers = []struct{ member, attr string }{
	{"state", "state"}, {"newState", "state"}, {"mediaType", "media"}, {"componentId", "component"},
	{"sink", "sink"}, {"errorCode", "code"}, {"channelId", "channel"}, {"objectId", "subject"}, {"object", "subject"},
}

func (s *Server) logEvent(o *mediaObject, eventType string, data object) {
	level := slog.LevelInfo
	if eventType == "IceCandidateFound" {
		level = slog.LevelDebug
	}
	if !s.log.Enabled(s.ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("object", o.id), slog.String("type", eventType)}
	for _, m := range loggedMembers {
		if v, ok := data[m.member]; ok {
			attrs = append(attrs, slog.Any(m.attr, v))
		}
	}
	s.log.LogAttrs(s.ctx, level, "kms.event", attrs...)
}

func (s *Server) logObject(kind string, o *mediaObject) {
	s.log.LogAttrs(s.ctx, slog.LevelInfo, kind, slog.String("object", o.id), slog.String("class", o.class.name))
}
