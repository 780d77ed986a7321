package reports

import (
	"cmp"
	"fmt"
	"io"
	"strings"
)

// mostTold bounds the failures of a summary, which people read at a glance.
const mostTold = 30

// mostText bounds what a summary says of one failure, in characters.
const mostText = 300

// Markdown writes the run for the page of a CI job: the verdict, what failed and
// where, what was skipped and why, and on what it ran.
func Markdown(w io.Writer, r Run) error {
	var b strings.Builder
	head := newPage(r, "", "")
	mark := map[string]string{"pass": "✅", "skip": "⚪"}[head.Class]
	fmt.Fprintf(&b, "## %s Callbench: %s\n\n%s", cmp.Or(mark, "❌"), strings.ToLower(head.Word), inLine(head.Tally))
	if r.World != "" {
		fmt.Fprintf(&b, " · %s world", inLine(r.World))
	}
	if r.Wall > 0 {
		fmt.Fprintf(&b, " · %s", short(r.Wall))
	}
	b.WriteString("\n")
	failed(&b, r)
	whySkipped(&b, r)
	if len(r.Parts) > 0 {
		b.WriteString("\n<details><summary>Where it ran</summary>\n\n| part | |\n| --- | --- |\n")
		for _, name := range sortedNames(r.Parts) {
			fmt.Fprintf(&b, "| %s | %s |\n", inLine(name), inLine(r.Parts[name]))
		}
		b.WriteString("\n</details>\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// failed is a row for each failure, and for each scenario that could not be judged.
func failed(b *strings.Builder, r Run) {
	var rows []string
	for _, s := range r.Scenarios {
		if s.Verdict == Broken {
			rows = append(rows, fmt.Sprintf("| %s | | could not be judged: %s |", inLine(s.Name), inLine(s.Reason)))
		}
		for _, f := range s.Failures {
			rows = append(rows, fmt.Sprintf("| %s | %s | %s |", inLine(s.Name), inLine(f.Place()), inLine(f.Message)))
		}
	}
	if len(rows) == 0 {
		return
	}
	b.WriteString("\n| scenario | where | what |\n| --- | --- | --- |\n")
	for _, row := range rows[:min(len(rows), mostTold)] {
		b.WriteString(row + "\n")
	}
	if more := len(rows) - mostTold; more > 0 {
		fmt.Fprintf(b, "\n%d more are in the report.\n", more)
	}
}

// whySkipped is a line for each reason why scenarios or steps were skipped.
func whySkipped(b *strings.Builder, r Run) {
	n := map[string]int{}
	var reasons []string
	for _, s := range r.Scenarios {
		if s.Verdict == Skip {
			if n[s.Reason] == 0 {
				reasons = append(reasons, s.Reason)
			}
			n[s.Reason]++
		}
	}
	unseen := r.unseen()
	if len(reasons)+len(unseen) == 0 {
		return
	}
	b.WriteString("\n<details><summary>Skipped</summary>\n\n")
	for _, reason := range reasons {
		fmt.Fprintf(b, "- %s: %s\n", many(n[reason], "scenario"), inLine(reason))
	}
	for _, u := range unseen {
		fmt.Fprintf(b, "- %s of %s: %s\n", expectations(u.Steps), many(len(u.Scenarios), "scenario"), inLine(u.Reason))
	}
	b.WriteString("\n</details>\n")
}

// special are the characters that Markdown or HTML would take for more than they are.
var special = strings.NewReplacer("\\", "\\\\", "|", "\\|", "`", "\\`", "*", "\\*", "_", "\\_", "[", "\\[", "<", "&lt;", ">", "&gt;", "&", "&amp;", "\r", " ", "\n", " ", "@", "@\u200b")

// inLine is text that is read as it stands, in a line.
func inLine(s string) string { return special.Replace(cut(s, mostText)) }
