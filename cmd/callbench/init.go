package main

import (
	"fmt"
	"path/filepath"

	"github.com/callbench/callbench/deploy/github"
)

type initCmd struct {
	Dir string `arg:"" type:"path" help:"Folder, which is made if it is not there."`
}

// Run implements `callbench init`.
func (c *initCmd) Run(out *console) error {
	paths, err := github.Write(c.Dir)
	if err != nil {
		return err
	}
	for _, p := range paths {
		fmt.Fprintf(out, "wrote %s\n", filepath.Join(c.Dir, p))
	}
	fmt.Fprintf(out, "next: cd %s && callbench run calls\n", c.Dir)
	return nil
}
