// Command callbench plays call scenarios, judges what happened and puts load on
// signaling servers. `callbench help` lists its commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/redis/go-redis/v9/logging"

	"github.com/callbench/callbench/scenarios/world"
)

// Exit codes, as `callbench help exit` lists them.
const (
	exitPass  = 0
	exitFail  = 1 // something was played and did not go as written
	exitUsage = 2 // nothing was played: wrong flags, a file that cannot be read
)

// errFailed says that the verdict is not a pass; it has been printed already.
var errFailed = errors.New("failed")

type cli struct {
	Run     runCmd     `cmd:"" help:"Play scenarios and judge them."`
	Gate    gateCmd    `cmd:"" help:"Play on a system in containers what a release has to pass, if its media server proves to be a real Kurento."`
	Load    loadCmd    `cmd:"" help:"Play a scenario many times at a rate."`
	Judge   judgeCmd   `cmd:"" help:"Judge a kept trace again."`
	Conform conformCmd `cmd:"" help:"Hold the mock media server, or a real Kurento, against recordings of a real one."`
	Mock    mockCmd    `cmd:"" help:"Serve a mock Kurento that fails on command."`
	Serve   serveCmd   `cmd:"" help:"Run the reference server, with everything embedded that is not given, and a demo page."`
	Doctor  doctorCmd  `cmd:"" help:"Check this machine and what flags name, and say what runs here prove and what they do not."`
	Init    initCmd    `cmd:"" help:"Make a folder for scenarios of your own, with a workflow that plays them."`
	Lines   linesCmd   `cmd:"" hidden:"" help:"Pass streams on to parts of a system in containers, and impair them as an address is told."`
	Help    helpCmd    `cmd:"" help:"Explain a command or a topic: scenario, exit."`

	Version kong.VersionFlag `help:"Print the version."`
}

func main() {
	if len(os.Args) == 2 {
		child(os.Args[1])
	}
	logging.Disable() // go-redis prints what it returns as an error too
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	code := Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// child is the life of a process that the binary starts of itself for virtual
// time; it returns if command is none of theirs.
func child(command string) {
	switch command {
	case world.ChildCommand:
		world.Child(os.Stdin, os.Stdout)
	case conformChild:
		playVirtual(os.Stdin, os.Stdout)
	}
}

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	var c cli
	out := &console{Writer: stdout, err: stderr}
	parser, err := kong.New(&c, kong.Name("callbench"), kong.Description("Scenario and load tests for audio/video calls over an IM WebSocket."),
		kong.Vars{"version": world.Tool()}, kong.Writers(stdout, stderr), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(out),
		kong.Exit(func(n int) { panic(exit(n)) }), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintln(stderr, "callbench:", err)
		return exitUsage
	}
	defer func() {
		switch v := recover().(type) {
		case nil:
		case exit: // --help and --version end here
			code = int(v)
		default: // anything else is a bug, and must not look like a pass
			panic(v)
		}
	}()
	kctx, err := parser.Parse(doubleDashes(args))
	if err != nil {
		fmt.Fprintf(stderr, "callbench: %v (callbench help lists the commands)\n", err)
		return exitUsage
	}
	switch err := kctx.Run(); {
	case err == nil:
		return exitPass
	case errors.Is(err, errFailed):
		return exitFail
	default:
		fmt.Fprintln(stderr, "callbench:", err)
		return exitUsage
	}
}

type exit int

// doubleDashes lets flags be written with one dash, as Go's own tools have
// them: -world local as well as --world local. A single letter stays as it is.
func doubleDashes(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if name, _, _ := strings.Cut(a, "="); len(name) > 2 && name[0] == '-' && name[1] != '-' {
			a = "-" + a
		}
		out[i] = a
	}
	return out
}
