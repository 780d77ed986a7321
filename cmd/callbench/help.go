package main

import (
	"fmt"

	"github.com/alecthomas/kong"

	"github.com/callbench/callbench/scenarios"
)

type helpCmd struct {
	Topic string `arg:"" optional:"" help:"scenario, exit, or a command."`
}

const exitHelp = `Exit codes:
  0  everything that was played passed, and something was played
  1  a scenario failed or could not be judged, or nothing but skips remained
  2  nothing was played: wrong flags, or a file that cannot be read or parsed
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
		return fmt.Errorf("no command and no topic is called %q; topics are scenario and exit, commands run, load, judge, serve, mock and doctor", c.Topic)
	}
	return nil
}
