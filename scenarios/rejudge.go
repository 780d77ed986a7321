package scenarios

import (
	"errors"
	"fmt"
	"io"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/reports/trace"
)

// Rejudge judges a kept trace by the scenario text that it carries.
func Rejudge(events []trace.Event) (reports.Scenario, error) {
	var r rejudge
	for _, e := range events {
		r.observe(e)
	}
	return r.result()
}

// RejudgeFile is Rejudge for a file, of which it keeps no more in memory than a
// judge does.
func RejudgeFile(file io.Reader) (reports.Scenario, error) {
	var r rejudge
	if err := trace.Read(file, r.observe); err != nil {
		return reports.Scenario{}, err
	}
	return r.result()
}

// rejudge makes a judge from a trace's first event and shows it the others.
type rejudge struct {
	judge *Judge
	err   error
}

func (r *rejudge) observe(e trace.Event) {
	if r.judge == nil && r.err == nil {
		r.judge, r.err = judgeOf(e)
	}
	if r.err == nil {
		r.judge.Observe(e)
	}
}

func (r *rejudge) result() (reports.Scenario, error) {
	if r.judge == nil && r.err == nil {
		r.err = errHead
	}
	if r.err != nil {
		return reports.Scenario{}, r.err
	}
	return r.judge.Result(), nil
}

var errHead = errors.New("the trace does not begin with " + string(trace.KindRunBegin))

// judgeOf makes the judge that the head of a trace asks for.
func judgeOf(head trace.Event) (*Judge, error) {
	switch head.Kind {
	case trace.KindRunBegin:
	case trace.KindLoadBegin:
		return nil, errors.New("this is the trace of a load, which holds no single run to judge")
	default:
		return nil, errHead
	}
	if v := int(head.Number("version")); v != trace.Version {
		return nil, fmt.Errorf("the trace has version %d; this callbench reads %d", v, trace.Version)
	}
	s, err := Parse(head.Get("file"), head.Get("text"))
	if err != nil {
		return nil, err
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	c, err := s.Case(head.Get("scenario"))
	if err != nil {
		return nil, fmt.Errorf("the trace's text: %w", err)
	}
	if head.Has("level") {
		c = c.AtLevel(int(head.Number("level")))
	}
	if accounts := accountsOf(head); len(accounts) > 0 {
		c = c.WithUsers(accounts)
	}
	return NewJudge(c), nil
}
