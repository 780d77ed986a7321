package scenarios

import (
	"fmt"
	"strings"

	"github.com/callbench/callbench/scenarios/invariants"
)

// grammar is the part of the reference that no table holds.
const grammar = `# The scenario language

A scenario is a text file, ` + "`something.call`" + `. A line is a step; ` + "`#`" + ` starts a comment, and the comment at the top tells what
the scenario is about.

    # Alice calls Bob.
    need    media                                   # what the world must have; a world that lacks it skips the scenario
    set     timeout=5s                              # settings, see below
    clients alice=electron bob=react-native         # name=profile; bob.phone=… is a device of bob's, viewer[50]=… a group, of which viewer[2] or viewer[1..40] are some
    case    loss=0,2,10                             # one run for each value; $loss stands for it; 1..20 is a range
    net     alice,bob loss=$loss                    # an action on networks; no space after the comma
    alice   call bob                                # an action: who does what
    expect  bob incoming from=alice                 # bob's device rings by itself and tells the caller so
    ! bob   call alice code=busy                    # an action that the server must refuse
    bob     accept
    at 10s  net bob cut                             # not before 10 s after the start; later is an error in virtual time
    at 13s  net bob restore
    expect  alice,bob media audio within=9s as back # as names the span from the last action until now
    expect  bob media or ended reason=dropped       # one or the other
    never   bob ended for=5s                        # must not happen, since the last action and for 5 s from now

Actions that follow each other and have an at wait for their times only, not for each other: so two can race. "?" in the place of
"!" marks an action that may be done or refused. To let time pass, give the next step an at, or rule something out with never. A script may end in the middle of a call.
An expectation looks at events from the beginning of the last action on, whoever acted, and consumes what it matched: an
early event is not missed and an old one not believed. Without within= it may take as long as ` + "`set timeout`" + ` says.
Fields compare with = >= <= > and <. When an expectation fails, the message says who lacks what, and what was seen
instead. A run stops at the first failure.

The events that ` + "`event`" + ` can wait for are those of the trace: run the scenario once and look into its ` + "`*.trace.jsonl`" + `.

A user with several devices is written bob.phone=… bob.desk=…: bob stands for all of them where clients are meant, and for the user
where somebody calls or kicks him. In a room of several members media is expected with from=, which names whose it is; a mix
has one's own in it too.

The virtual world lacks chromium, whose time is not its own; the local one lacks virtualtime, and chromium where there is none on the path. Both lack
parts-control. A client of the profile chromium is a real browser, and needs it without saying so. With ` + "`-level 0`" + ` the server speaks level 0
of the protocol, and the capabilities of level 1 are lacking. With ` + "`-kms`" + ` there are no kmsevents, kms-control, kms-faults and mixed, and files only of a Kurento on this machine. With ` + "`-turn`" + ` the secrets of the TURN
server cannot be changed, and its allocations are listed with ` + "`-turn-log`" + ` only. The remote world has what the server says of itself, and skips
by name what it cannot look at (docs/remote.md); what the containers world lacks is in docs/containers.md. A TURN server is there if the scenario needs one; clients of level 0, to whom
nobody tells it, know it from the beginning.
`

// Reference is the language's reference in Markdown, generated from its tables.
func Reference() string {
	var b strings.Builder
	b.WriteString(grammar)
	rulesDoc(&b)
	b.WriteString("\n## Settings\n\n")
	for _, s := range settings {
		fmt.Fprintf(&b, "- `set %s=<%s>`: %s\n", s.Name, s.Kind, s.Help)
	}
	b.WriteString("\n## Capabilities\n\n")
	for _, k := range sortedKeys(Capabilities) {
		fmt.Fprintf(&b, "- `need %s`: %s\n", k, Capabilities[k])
	}
	fmt.Fprintf(&b, "\n## Profiles\n\n%s\n", strings.Join(profiles, ", "))
	b.WriteString("\n## Options of clients\n\nBehind the profile, as in `bob=react-native:relay+level0`.\n\n")
	for _, k := range sortedKeys(options) {
		fmt.Fprintf(&b, "- `%s`: %s\n", k, options[k])
	}
	b.WriteString("\n## Actions\n\n")
	for _, v := range Verbs {
		entry(&b, subject(v.World, "<client> "), v.Name, v.Usage, v.Help, v.Fields)
	}
	b.WriteString("\n## Expectations\n\n")
	for _, x := range Expectations {
		entry(&b, subject(x.World, "expect <clients> "), x.Name, x.Usage, x.Help, x.Fields)
	}
	cleanDoc(&b)
	stepsDoc(&b)
	return b.String()
}

// stepsDoc lists the design's steps and what shows each.
func stepsDoc(b *strings.Builder) {
	b.WriteString("\n## The steps of a call\n\n`expect steps` wants these events in this order; 15 to 20 and 21 to 25 are two strands, and 4 and 5 may change places. A is the caller, B the callee.\n\n| step | | event |\n| --- | --- | --- |\n")
	for _, d := range designSteps {
		fmt.Fprintf(b, "| %d | %s | %s `%s`", d.n, d.what, d.actor, d.kind)
		for _, k := range sortedKeys(d.where) {
			if d.where[k] != "*" {
				fmt.Fprintf(b, " %s=%s", k, strings.ReplaceAll(d.where[k], "|", " or "))
			}
		}
		b.WriteString(" |\n")
	}
}

func subject(world bool, client string) string {
	switch {
	case !world:
		return client
	case strings.HasPrefix(client, "expect"):
		return "expect "
	default:
		return ""
	}
}

func entry(b *strings.Builder, subject, name, usage, help string, fields []FieldSpec) {
	fmt.Fprintf(b, "- `%s`: %s\n", strings.TrimSpace(subject+name+" "+usage), help)
	for _, f := range fields {
		values := ""
		if len(f.Values) > 0 {
			values = "; one of " + strings.Join(f.Values, ", ")
		}
		fmt.Fprintf(b, "  - `%s` (%s): %s%s\n", f.Name, f.Kind, f.Help, values)
	}
}

// rulesDoc is the reference's section about the rules that every run is held to.
func rulesDoc(b *strings.Builder) {
	b.WriteString("\n## Rules\n\nBesides what the script expects, every run is held to these rules; a failure names the one that was broken.\n\n")
	for _, name := range sortedKeys(rules) {
		fmt.Fprintf(b, "- `%s`: %s\n", name, rules[name])
	}
	for _, r := range invariants.Rules() {
		fmt.Fprintf(b, "- `%s`: %s\n", r.Name, r.Says)
	}
	b.WriteString(`
Candidates are counted where the media server tells what it gathered, as kmsmock does. What the history, the conversation and clean-up must say is
looked at when the script has been played; a call that is under way then is not missed in the history, and what it holds is not left. The model of
the call's states is held to the rules of calls as well.
`)
}
