package scenarios

import (
	"fmt"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
)

// Rejudge judges a kept trace by the scenario text that it carries.
func Rejudge(events []trace.Event) (reports.Scenario, error) {
	if len(events) > 0 && events[0].Kind == trace.KindLoadBegin {
		return reports.Scenario{}, fmt.Errorf("this is the trace of a load, which holds no single run to judge")
	}
	if len(events) == 0 || events[0].Kind != trace.KindRunBegin {
		return reports.Scenario{}, fmt.Errorf("the trace does not begin with %s", trace.KindRunBegin)
	}
	head := events[0]
	if v := int(head.Number("version")); v != trace.Version {
		return reports.Scenario{}, fmt.Errorf("the trace has version %d; this callbench reads %d", v, trace.Version)
	}
	s, err := Parse(head.Get("file"), head.Get("text"))
	if err != nil {
		return reports.Scenario{}, err
	}
	if err := s.Check(); err != nil {
		return reports.Scenario{}, err
	}
	cases, err := s.Expand()
	if err != nil {
		return reports.Scenario{}, err
	}
	for _, c := range cases {
		if c.Name == head.Get("scenario") {
			if head.Has("level") {
				c = c.AtLevel(int(head.Number("level")))
			}
			j := NewJudge(c)
			for _, e := range events {
				j.Observe(e)
			}
			return j.Result(), nil
		}
	}
	return reports.Scenario{}, fmt.Errorf("the trace's text has no scenario %q", head.Get("scenario"))
}
