package server

import "github.com/prometheus/client_golang/prometheus"

// population counts what there is at the moment of a look.
type population struct{ srv *Server }

var (
	connectionsDesc = prometheus.NewDesc("callbench_connections", "WebSockets that are open.", nil, nil)
	sessionsDesc    = prometheus.NewDesc("callbench_sessions", "Sessions by whether a connection is attached.", []string{"attached"}, nil)
	waitingDesc     = prometheus.NewDesc("callbench_media_waiting", "Operations of the media server that wait for their turn.", nil, nil)
	busyDesc        = prometheus.NewDesc("callbench_media_busy", "Operations of the media server that took a turn and are under way.", nil, nil)
	endpointsDesc   = prometheus.NewDesc("callbench_media_endpoints", "Endpoints on the media server.", nil, nil)
	queuedDesc      = prometheus.NewDesc("callbench_queued", "What waits in queues, by queue: connections (frames to be written), rooms, writes (of rooms), sessions (writes), messages, presence.", []string{"queue"}, nil)
	longestDesc     = prometheus.NewDesc("callbench_queue_longest", "What waits in the longest queue of a kind.", []string{"queue"}, nil)
	unwrittenDesc   = prometheus.NewDesc("callbench_unwritten", "Writes of the history and of messages that are safe and that the database does not have yet.", nil, nil)
	roomsDesc       = prometheus.NewDesc("callbench_rooms", "Rooms by type.", []string{"type"}, nil)
	callsDesc       = prometheus.NewDesc("callbench_calls", "Calls by state.", []string{"state"}, nil)
)

// Describe implements prometheus.Collector.
func (p population) Describe(ch chan<- *prometheus.Desc) {
	ch <- connectionsDesc
	ch <- sessionsDesc
	ch <- callsDesc
	ch <- waitingDesc
	ch <- queuedDesc
	ch <- longestDesc
	ch <- roomsDesc
	ch <- unwrittenDesc
	ch <- busyDesc
	ch <- endpointsDesc
}

// Collect implements prometheus.Collector.
func (p population) Collect(ch chan<- prometheus.Metric) {
	g := gauges(ch)
	sessions, rooms := p.srv.users.everybody()
	conns := p.srv.everyConn()
	attached := 0
	for _, s := range sessions {
		if s.attached() {
			attached++
		}
	}
	g.set(connectionsDesc, len(conns))
	g.set(sessionsDesc, attached, "true")
	g.set(sessionsDesc, len(sessions)-attached, "false")
	waiting, busy := p.srv.gate.depth()
	g.set(waitingDesc, waiting)
	g.set(busyDesc, busy)
	g.set(endpointsDesc, int(p.srv.gate.endpoints.Load()))
	if unwritten := p.srv.cfg.Unwritten; unwritten != nil {
		g.set(unwrittenDesc, unwritten())
	}
	g.rooms(rooms)
	p.queues(g, conns, sessions, rooms)
}

// gauges are where the values of a look go.
type gauges chan<- prometheus.Metric

func (g gauges) set(d *prometheus.Desc, n int, labels ...string) {
	g <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
}

// rooms counts calls by state, and rooms by type.
func (g gauges) rooms(rooms []*room) {
	states, types := map[callState]int{}, map[RoomType]int{}
	for _, r := range rooms {
		types[r.kind]++
		if c, ok := r.host.(*call); ok {
			states[c.at()]++
		}
	}
	for s := stateDialing; s < stateEnded; s++ {
		g.set(callsDesc, states[s], s.String())
	}
	for _, t := range []RoomType{Room1v1, RoomMCU, RoomBroadcast} {
		g.set(roomsDesc, types[t], string(t))
	}
}

// queues measures how much waits, in all and in the longest queue of each kind.
func (p population) queues(g gauges, conns []*conn, sessions []*session, rooms []*room) {
	var frames, states, actors, writes, messages, presence depth
	for _, c := range conns {
		frames.add(c.depth())
	}
	for _, s := range sessions {
		states.add(s.state.Len())
	}
	for _, r := range rooms {
		actors.add(r.queue.Len())
		writes.add(r.writes.Len())
	}
	for i := range spread {
		messages.add(p.srv.mail[i].queue.Len())
		presence.add(p.srv.rolls[i].queue.Len())
	}
	for _, q := range []struct {
		name string
		depth
	}{{"connections", frames}, {"sessions", states}, {"rooms", actors}, {"writes", writes}, {"messages", messages}, {"presence", presence}} {
		g.set(queuedDesc, q.sum, q.name)
		g.set(longestDesc, q.longest, q.name)
	}
}

// depth is how much waits in queues of a kind.
type depth struct{ sum, longest int }

func (d *depth) add(n int) {
	d.sum += n
	d.longest = max(d.longest, n)
}

// everyConn lists the connections that are open.
func (s *Server) everyConn() (conns []*conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}

// depth is how many frames wait to be written.
func (c *conn) depth() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}
