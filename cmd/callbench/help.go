package main

import (
	"fmt"

	"github.com/alecthomas/kong"

	"github.com/callbench/callbench/scenarios"
)

type helpCmd struct {
	Topic string `arg:"" optional:"" enum:"scenario,exit," default:"" help:"scenario or exit."`
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
	top, err := kong.Trace(k.Kong, nil)
	if err != nil {
		return err
	}
	return top.PrintUsage(false)
}
