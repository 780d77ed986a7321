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
	resumes   *prometheus.CounterVec   // wishes to resume a session, by what became of them
	phases    *prometheus.HistogramVec // how long phases of calls and conferences took
	limits    *prometheus.CounterVec   // what was refused or delayed, by limit
	lost      *prometheus.CounterVec   // requests to State, History and Inbox that failed
	forgotten prometheus.Counter       // removals from State that were too many to be remembered
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
		resumes:   counter("callbench_resumes_total", "Wishes to resume a session, by what became of them: resumed, unknown, spent, missed, token.", "outcome"),
		phases:    prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "callbench_phase_seconds", Help: "Time that phases took: ring, join, leg.", Buckets: setupBuckets}, []string{"phase"}),
		limits:    counter("callbench_limits_reached_total", "Connections, frames and requests that a limit refused, delayed or took the place of, by limit.", "limit"),
		lost:      counter("callbench_state_failures_total", "Requests to Redis, the history or the inbox that failed.", "operation"),
	}
	m.forgotten = prometheus.NewCounter(prometheus.CounterOpts{Name: "callbench_state_forgotten_total", Help: "Removals from Redis, while it was away, that were too many to be remembered."})
	m.notified = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "callbench_notifications_total", Help: "Notifications for devices that are not connected."}, []string{"type", "outcome"})
	m.registry.MustRegister(m.ended, m.refused, m.sessions, m.setup, m.operation, m.lost, m.notified, population{s})
	m.registry.MustRegister(m.limits, m.resumes, m.phases, m.forgotten)
	m.registry.MustRegister(s.cfg.Collectors...)
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

// The phases that are measured.
const (
	phaseRing = "ring" // from the invitation until somebody answers
	phaseJoin = "join" // from a member's wish to come into a conference until its media is connected
	phaseLeg  = "leg"  // from an offer until its media is connected
)

// phase notes how long a phase took that began then, and is over now.
func (m *metrics) phase(name string, began time.Time) {
	m.phases.WithLabelValues(name).Observe(time.Since(began).Seconds())
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
