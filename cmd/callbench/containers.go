package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/callbench/callbench/scenarios/world"
	"github.com/callbench/callbench/scenarios/world/stack"
)

// imageFlags say which images parts in containers are made of.
type imageFlags struct {
	Image   []string `placeholder:"PART=NAME" help:"Image of a part in a container: kurento, coturn, redis, mysql, haproxy or server; also CALLBENCH_IMAGE_REDIS and so on, and CALLBENCH_IMAGE_MIRROR, a prefix for all others."`
	StandIn []string `name:"stand-in" placeholder:"PART=NAME" help:"What takes a part's place in a container: kurento=kmsmock, mysql=mariadb. The report says so."`
}

// containerFlags say what a system in containers is made of.
type containerFlags struct {
	imageFlags
	Servers int `default:"1" placeholder:"N" help:"How many signaling servers in containers are behind the balancer."`
}

// first is the first flag that only containers have a use for, if it is given.
func (f *imageFlags) first() string {
	switch {
	case len(f.Image) > 0:
		return "image"
	case len(f.StandIn) > 0:
		return "stand-in"
	}
	return ""
}

func (f *containerFlags) first() string {
	if name := f.imageFlags.first(); name != "" || f.Servers == 1 {
		return name
	}
	return "servers"
}

// images are those that flags and environment name.
func (f *imageFlags) images() (stack.Images, error) {
	return stack.ChooseImages(f.Image, f.StandIn, os.Getenv)
}

// fleet starts a system in containers, whose logs are kept in a folder of the report.
func (f *containerFlags) fleet(ctx context.Context, out *console, given stack.Given, report string) (*world.Fleet, error) {
	images, err := f.images()
	if err != nil {
		return nil, err
	}
	if f.Servers < 1 {
		return nil, fmt.Errorf("-servers must be at least 1")
	}
	dir := filepath.Join(report, "containers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a folder for logs: %w", err)
	}
	return world.StartFleet(ctx, stack.Config{Images: images, Given: given, Servers: f.Servers, Dir: dir,
		Say: func(format string, args ...any) { fmt.Fprintf(out.err, "containers: "+format+"\n", args...) }})
}

// given are the parts that flags of run name: they run elsewhere.
func (c *runCmd) given() (stack.Given, error) {
	f := c.Remote
	f.Probes.Redis, f.Probes.MySQL = "", ""
	switch name := f.first(); {
	case name != "":
		return stack.Given{}, fmt.Errorf("-%s is of the remote world; add -world remote", name)
	case c.TurnLog != "" || c.Level != nil && *c.Level != 1:
		return stack.Given{}, fmt.Errorf("in containers the server speaks level 1, and Coturn's log is known: -level and -turn-log are of other worlds")
	case c.Jobs > 1:
		return stack.Given{}, fmt.Errorf("-j %d: scenarios in containers share them; they are played one at a time", c.Jobs)
	}
	return stack.Given{Kurento: c.Kms, Redis: c.Remote.Probes.Redis, MySQL: c.Remote.Probes.MySQL, TURN: c.Turn, Secret: c.Secret}, nil
}
