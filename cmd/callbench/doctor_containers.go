package main

import (
	"context"
	"fmt"

	"github.com/callbench/callbench/scenarios/world/stack"
)

// containers examines what the containers world needs: an engine, and the images.
func (c *doctorCmd) containers(ctx context.Context) []finding {
	images, err := c.images()
	engine := finding{Name: "engine", State: stateOK, Why: "The containers world and the gate run every part in a container."}
	if err != nil {
		return []finding{asked(engine, "", err, "give flags that say so")}
	}
	e, err := stack.ConnectEngine(ctx)
	if err != nil {
		return []finding{asked(engine, "", err, "start Docker, or let DOCKER_HOST name an engine with Docker's API that this user may use, such as unix:///var/run/docker.sock")}
	}
	defer func() { _ = e.Close() }()
	all := []finding{asked(engine, fmt.Sprintf("docker %s with %d processors", e.Version, e.CPUs), nil, "")}
	for _, part := range stack.PartNames() {
		all = append(all, examineImage(ctx, e, images, part))
	}
	return all
}

// examineImage looks whether a part's image is there.
func examineImage(ctx context.Context, e *stack.Engine, images stack.Images, part string) finding {
	f := finding{Name: "image " + part, State: stateOK, Why: "A container of " + part + " is made of it."}
	name := images.Of(part)
	if what := images.StandIn(part); what != "" {
		f.Why += " " + what + " stands in for it, as it was asked to."
	}
	if name == "" {
		name = images.Of(stack.Server)
	}
	if name == "" {
		return asked(f, "made of this binary", stack.Static(), "build it with CGO_ENABLED=0 (make build does), or give -image server=NAME")
	}
	im, err := e.Image(ctx, name)
	return asked(f, im.String(), err, "docker pull "+name+"; or, where no registry can be reached, "+withoutRegistry(part))
}

// withoutRegistry is what helps where images cannot be pulled.
func withoutRegistry(part string) string {
	switch part {
	case stack.Kurento:
		return "docker load or import one that was made elsewhere, or let the mock stand in with -stand-in kurento=kmsmock"
	case stack.MySQL:
		return "deploy/images/build.sh mariadb, and -stand-in mysql=mariadb"
	case stack.Server:
		return "deploy/images/build.sh callbench"
	}
	return "deploy/images/build.sh " + part + ", and -image " + part + "=callbench/" + part
}
