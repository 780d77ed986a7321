package server

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/callbench/callbench/signaling"
)

// metrics are what the server counts for Prometheus. How many connections,
// sessions and calls there are is asked when somebody looks, so that it costs
// nothing in between.
type metrics struct {
	registry  *prometheus.Registry
	ended     *prometheus.CounterVec   // calls by reason
	refused   *prometheus.CounterVec   // requests by error code
	sessions  *prometheus.CounterVec   // opened, by how: new, resumed, level0
	setup     prometheus.Histogram     // from call to the second leg's media
	operation *prometheus.HistogramVec // of the media server
	limits    *prometheus.CounterVec   // what was refused or delayed, by limit
	lost      *prometheus.CounterVec   // requests to State, History and Inbox that failed
	notified  *prometheus.CounterVec   // what Push was told, by type and outcome
}

// Buckets in seconds. Kurento answers most requests within 10 ms, and the first
// of a process in 400; a call is set up in 0.1 to some seconds.
var (
	operationBuckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	setupBuckets     = []float64{0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 30, 60}
)

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry:  prometheus.NewRegistry(),
		ended:     counter("callbench_calls_ended_total", "Calls that ended.", "reason"),
		refused:   counter("callbench_requests_refused_total", "Frames that were answered with an error.", "code"),
		sessions:  counter("callbench_sessions_opened_total", "Sessions that a connection was given, by how: new, resumed or level0.", "how"),
		setup:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "callbench_call_setup_seconds", Help: "Time from the answer to a call until media of both legs is connected.", Buckets: setupBuckets}),
		operation: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "callbench_media_operation_seconds", Help: "Time that operations of the media server took.", Buckets: operationBuckets}, []string{"operation", "outcome"}),
		limits:    counter("callbench_limits_reached_total", "Connections, frames and requests that a limit refused, delayed or took the place of, by limit.", "limit"),
		lost:      counter("callbench_state_failures_total", "Requests to Redis, the history or the inbox that failed.", "operation"),
	}
	m.notified = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "callbench_notifications_total", Help: "Notifications for devices that are not connected."}, []string{"type", "outcome"})
	m.registry.MustRegister(m.ended, m.refused, m.sessions, m.setup, m.operation, m.lost, m.notified, population{s})
	m.registry.MustRegister(m.limits)
	return m
}

func counter(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
}

// measure notes how long an operation of the media server took.
func (m *metrics) measure(operation string, begin time.Time, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	m.operation.WithLabelValues(operation, outcome).Observe(time.Since(begin).Seconds())
}

// opened counts a new session.
func (m *metrics) opened(level int) {
	how := "new"
	if level == level0 {
		how = "level0"
	}
	m.sessions.WithLabelValues(how).Inc()
}

func (m *metrics) refuse(code signaling.Code) { m.refused.WithLabelValues(string(code)).Inc() }

// population counts what there is at the moment of a look.
type population struct{ srv *Server }

var (
	connectionsDesc = prometheus.NewDesc("callbench_connections", "WebSockets that are open.", nil, nil)
	sessionsDesc    = prometheus.NewDesc("callbench_sessions", "Sessions by whether a connection is attached.", []string{"attached"}, nil)
	waitingDesc     = prometheus.NewDesc("callbench_media_waiting", "Operations of the media server that wait for their turn.", nil, nil)
	busyDesc        = prometheus.NewDesc("callbench_media_busy", "Operations of the media server that took a turn and are under way.", nil, nil)
	endpointsDesc   = prometheus.NewDesc("callbench_media_endpoints", "Endpoints on the media server.", nil, nil)
	callsDesc       = prometheus.NewDesc("callbench_calls", "Calls by state.", []string{"state"}, nil)
)

// Describe implements prometheus.Collector.
func (p population) Describe(ch chan<- *prometheus.Desc) {
	ch <- connectionsDesc
	ch <- sessionsDesc
	ch <- callsDesc
	ch <- waitingDesc
	ch <- busyDesc
	ch <- endpointsDesc
}

// Collect implements prometheus.Collector.
func (p population) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	p.srv.mu.Lock()
	conns := len(p.srv.conns)
	p.srv.mu.Unlock()
	sessions, rooms := p.srv.users.everybody()
	attached := 0
	for _, s := range sessions {
		if s.attached() {
			attached++
		}
	}
	states := map[callState]int{}
	for _, r := range rooms {
		if c, ok := r.host.(*call); ok {
			states[c.at()]++
		}
	}
	waiting, busy := p.srv.gate.depth()
	gauge(waitingDesc, waiting)
	gauge(busyDesc, busy)
	gauge(endpointsDesc, int(p.srv.gate.endpoints.Load()))
	gauge(connectionsDesc, conns)
	gauge(sessionsDesc, attached, "true")
	gauge(sessionsDesc, len(sessions)-attached, "false")
	for s := stateDialing; s < stateEnded; s++ {
		gauge(callsDesc, states[s], s.String())
	}
}

// Metrics serves what the server counts in Prometheus' text format.
func (s *Server) Metrics() http.Handler {
	return promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{})
}

// Health answers 200 as long as the server takes connections, and 503 once it
// shuts down.
func (s *Server) Health() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if s.isClosed() {
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
}

// timed runs an operation of the media server and measures it.
func (m *metrics) timed(ctx context.Context, operation string, op func(context.Context) error) error {
	begin := time.Now()
	err := op(ctx)
	m.measure(operation, begin, err)
	return err
}
