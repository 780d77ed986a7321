package reports

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Write puts report.html, report.json, junit.xml and summary.md into the folder,
// which exists. The page tells of events from the traces, which Scenario.Trace names.
func Write(dir string, r Run) error {
	if err := create(filepath.Join(dir, "report.json"), func(w io.Writer) error { return JSON(w, r) }); err != nil {
		return err
	}
	if err := create(filepath.Join(dir, "junit.xml"), func(w io.Writer) error { return JUnit(w, r) }); err != nil {
		return err
	}
	if err := create(filepath.Join(dir, "summary.md"), func(w io.Writer) error { return Markdown(w, r) }); err != nil {
		return err
	}
	return create(filepath.Join(dir, "report.html"), func(w io.Writer) error { return HTML(w, dir, r) })
}

func create(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := write(f); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Close()
}

// WriteLoad puts load.json into the folder, which exists.
func WriteLoad(dir string, l Load) error {
	return create(filepath.Join(dir, "load.json"), func(w io.Writer) error { return encode(w, l) })
}

// JSON writes the run as indented JSON; durations are in nanoseconds.
func JSON(w io.Writer, r Run) error { return encode(w, r) }

func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

type suites struct {
	XMLName xml.Name `xml:"testsuites"`
	Suites  []suite  `xml:"testsuite"`
}

type suite struct {
	Name      string     `xml:"name,attr"`
	Tests     int        `xml:"tests,attr"`
	Failures  int        `xml:"failures,attr"`
	Errors    int        `xml:"errors,attr"`
	Skipped   int        `xml:"skipped,attr"`
	Time      string     `xml:"time,attr"`
	Timestamp string     `xml:"timestamp,attr"`
	Cases     []testcase `xml:"testcase"`
}

type testcase struct {
	Name    string   `xml:"name,attr"`
	Class   string   `xml:"classname,attr"`
	File    string   `xml:"file,attr"`
	Time    string   `xml:"time,attr"`
	Failure *problem `xml:"failure,omitempty"`
	Error   *problem `xml:"error,omitempty"`
	Skipped *problem `xml:"skipped,omitempty"`
	Notes   string   `xml:"system-out,omitempty"` // steps that were skipped
	Output  string   `xml:"system-err,omitempty"`
}

type problem struct {
	Message string `xml:"message,attr,omitempty"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// JUnit writes the run as JUnit XML, a test case for each scenario. Times are
// wall time in seconds.
func JUnit(w io.Writer, r Run) error {
	n := r.Count()
	s := suite{Name: "callbench " + r.World, Tests: len(r.Scenarios), Failures: n[Fail], Errors: n[Broken], Skipped: n[Skip],
		Time: seconds(r.Wall.Seconds()), Timestamp: r.Started.UTC().Format("2006-01-02T15:04:05")}
	for _, sc := range r.Scenarios {
		s.Cases = append(s.Cases, caseOf(sc))
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(suites{Suites: []suite{s}}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func caseOf(s Scenario) testcase {
	c := testcase{Name: s.Name, Class: "callbench." + s.World, File: s.File, Time: seconds(s.Wall.Seconds()), Notes: skippedLines(s), Output: s.Stderr}
	switch s.Verdict {
	case Fail:
		c.Failure = &problem{Message: s.Reason, Type: s.Failures[0].Check, Text: allFailures(s)}
	case Broken:
		c.Error = &problem{Message: s.Reason, Type: "broken"}
	case Skip:
		c.Skipped = &problem{Message: s.Reason}
	}
	return c
}

func allFailures(s Scenario) string {
	var b strings.Builder
	for _, f := range s.Failures {
		fmt.Fprintf(&b, "%s: %s\n%s", f.Place(), f.Message, f.Detail)
	}
	return b.String()
}

func seconds(s float64) string { return fmt.Sprintf("%.3f", s) }
