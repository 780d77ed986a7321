package kms_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/callbench/callbench/server/kms"
)

func TestMetrics(t *testing.T) {
	m := kms.NewMetrics()
	m.Request("create", time.Millisecond, nil)
	m.Request("create", time.Second, nil)
	m.Request("processOffer", time.Second, errors.New("no"))
	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "callbench_kms_rpc_seconds" {
		t.Fatalf("%v, %v", families, err)
	}
	var got []string
	for _, one := range families[0].GetMetric() {
		line := ""
		for _, l := range one.GetLabel() {
			line += l.GetName() + "=" + l.GetValue() + " "
		}
		got = append(got, line+strings.Repeat("*", int(one.GetHistogram().GetSampleCount())))
	}
	if all := strings.Join(got, ", "); all != "method=create outcome=ok **, method=processOffer outcome=error *" {
		t.Errorf("measured %s", all)
	}
}
