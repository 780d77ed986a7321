package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/callbench/callbench/scenarios"
)

type helpCmd struct {
	Topic string `arg:"" optional:"" help:"scenario, exit, or a command."`
}

const exitHelp = `Exit codes:
  0  everything that was played passed, and something was played
  1  a scenario failed or could not be judged, or nothing but skips remained;
     conform: a recording went otherwise; doctor: something a flag names is not usable;
     gate: a scenario was skipped, or a part is not what its name says
  2  nothing was played: wrong flags, or a file that cannot be read or parsed, or a server
     of conform or a remote one that does not answer, or an address of mock or serve that is taken,
     or a container of run or gate that cannot be started
mock and serve run until they are interrupted, and then exit with 0.
`

// Run implements `callbench help`.
func (c *helpCmd) Run(out *console, k *kong.Context) error {
	switch c.Topic {
	case "scenario":
		fmt.Fprint(out, scenarios.Reference())
		return nil
	case "exit":
		fmt.Fprint(out, exitHelp)
		return nil
	}
	args := []string{"--help"}
	if c.Topic != "" {
		args = []string{c.Topic, "--help"}
	}
	_, err := k.Kong.Parse(args) // prints, and leaves through Main
	if err != nil {
		return fmt.Errorf("no command and no topic is called %q; topics are scenario and exit, commands %s", c.Topic, commands(k))
	}
	return nil
}

// commands names those that can be asked about.
func commands(k *kong.Context) string {
	var names []string
	for _, n := range k.Model.Children {
		if !n.Hidden {
			names = append(names, n.Name)
		}
	}
	return strings.Join(names, ", ")
}
