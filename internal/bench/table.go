package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// gross is how many times its goal a figure may be before the run fails: a busy
// machine is no regression.
const gross = 2

// row is a figure of the server's, and what it is held against.
type row struct {
	what  string
	floor string // what the hub, or Kurento alone, does; "" if nothing is compared
	ours  string
	value float64 // that the goal is about: ours, or its ratio to the floor
	goal  float64 // the most that value may be; 0 if it is only told
	unit  string  // of value and goal
	void  bool    // the machine was too busy for it to say anything
}

func (r row) verdict() string {
	switch {
	case r.goal == 0:
		return ""
	case r.void:
		return "not judged"
	case r.value <= r.goal:
		return "met"
	case r.value <= r.goal*gross:
		return "not met"
	}
	return "MISSED"
}

// table is what a run found.
type table struct {
	rows  []row
	notes []string
}

func (t *table) add(r row) { t.rows = append(t.rows, r) }

func (t *table) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// print prints the table, and returns an error if a goal was missed grossly.
func (t *table) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\tfloor\tserver\tcompared\tgoal\t")
	var missed []string
	for _, r := range t.rows {
		value, goal := "", ""
		if r.goal != 0 {
			value, goal = number(r.value)+r.unit, "<= "+number(r.goal)+r.unit
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", r.what, r.floor, r.ours, value, goal, r.verdict())
		if r.verdict() == "MISSED" {
			missed = append(missed, r.what)
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, n := range t.notes {
		fmt.Fprintln(w, n)
	}
	if len(missed) > 0 {
		return fmt.Errorf("more than %d times the goal: %s", gross, strings.Join(missed, ", "))
	}
	return nil
}

func number(f float64) string {
	return strings.TrimSuffix(strings.TrimSuffix(fmt.Sprintf("%.2f", f), "0"), ".0")
}

// median is the middle one of some figures.
func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	if len(s) == 0 {
		return 0
	}
	return s[len(s)/2]
}

// quantile is the figure that the share q of all is not above.
func quantile(all []float64, q float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(q*float64(len(all))))]
}
