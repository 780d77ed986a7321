package kms

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics measure the requests to Kurento, as a prometheus.Collector.
type Metrics struct{ *prometheus.HistogramVec }

// NewMetrics measure nothing yet.
func NewMetrics() Metrics {
	return Metrics{prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "callbench_kms_rpc_seconds", Help: "Time that requests to Kurento took, by operation or method.",
		Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}}, []string{"method", "outcome"})}
}

// Request notes how long a request took: it is Config.Observe.
func (m Metrics) Request(method string, took time.Duration, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	m.WithLabelValues(method, outcome).Observe(took.Seconds())
}
