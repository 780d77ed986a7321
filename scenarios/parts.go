package scenarios

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// needPartsControl is the capability of worlds whose parts are processes or
// containers of their own.
const needPartsControl = "parts-control"

// PartsControl is a World whose parts run by themselves, each of which can be
// stopped, and so can the ways between them.
type PartsControl interface {
	Part(name string) (Part, error)
	Line(part string) (Line, error)
}

// Part is one of the system's parts.
type Part interface {
	// Pause stops it where it is: its connections stay open, and nothing answers.
	Pause() error
	// Resume lets it go on.
	Resume() error
	// Kill ends it as kill -9 does.
	Kill() error
	// Start starts one that was killed, and returns when it answers.
	Start() error
	// Partition takes it off the network, or puts it back.
	Partition(bool) error
}

// Line is the way from the servers to a part that they stand on, or from clients to Coturn.
type Line interface {
	Cut() error
	Restore() error
	Reset() error
	SetDelay(time.Duration) error
	// SetLoss loses so many percent of datagrams each way.
	SetLoss(percent float64) error
}

// partName is what parts can be called.
var partName = regexp.MustCompile(`^(kurento|coturn|redis|mysql|haproxy|server[0-9]*)$`)

// lineNames are the parts that lines lead to.
var lineNames = []string{"coturn", "kurento", "redis", "mysql"}

// udpLine is the one whose datagrams can be lost, and have no connection.
const udpLine = "coturn"

// partVerbs are the actions on parts that run by themselves.
var partVerbs = []Verb{
	{Name: "part", Usage: "<part> pause|resume|kill|start|restart|partition|heal", World: true, Min: 2, Max: 2, world: actOnPart, target: checkPart,
		Help: "acts on a part of the system, kurento, coturn, redis, mysql, haproxy, server, which is all servers, or server1, server2 and so on: pause stops it where it is and its connections stay open, " +
			"resume lets it go on, kill ends it as kill -9 does, start starts it again and waits until it answers, restart does both, partition takes it off the network and heal puts it back; needs parts-control",
		Fields: []FieldSpec{{Name: "after", Kind: Duration, Help: "how long after the kill restart starts it; 1s if not set"}}},
	{Name: "line", Usage: "<part> [cut|restore|reset]", World: true, Min: 1, Max: 2, world: actOnLine, target: checkLine,
		Help:   "acts on the way from the servers to kurento, redis or mysql: cut stalls everything, restore ends that, reset breaks the connections; or on that of clients' datagrams to coturn, which cut drops; needs parts-control",
		Fields: []FieldSpec{{Name: "delay", Kind: Duration, Help: "one-way delay from now on"}, {Name: "loss", Kind: Number, Help: "of line coturn: share of datagrams lost each way from now on, 0 to 100 percent"}}},
}

// partActions are what part does, by its word.
var partActions = map[string]func(Part) error{
	"pause":     Part.Pause,
	"resume":    Part.Resume,
	"kill":      Part.Kill,
	"start":     Part.Start,
	"partition": func(p Part) error { return p.Partition(true) },
	"heal":      func(p Part) error { return p.Partition(false) },
}

// lineActions are what line does, by its word.
var lineActions = map[string]func(Line) error{"cut": Line.Cut, "restore": Line.Restore, "reset": Line.Reset}

const restartWord = "restart"

func actOnPart(w World, _ *Scenario, c Clause) error {
	control, ok := w.(PartsControl)
	if !ok {
		return errors.New("this world's parts do not run by themselves")
	}
	p, err := control.Part(c.Args[0])
	if err != nil {
		return err
	}
	if do := partActions[c.Args[1]]; do != nil {
		return do(p)
	}
	after, err := c.after("after", restartTime)
	if err != nil {
		return err
	}
	if err := p.Kill(); err != nil {
		return err
	}
	time.Sleep(after)
	return p.Start()
}

func checkPart(s *Scenario, _ Step, c Clause) error {
	if !partName.MatchString(c.Args[0]) {
		return fmt.Errorf("no part is called %q, only kurento, coturn, redis, mysql, haproxy and server%s", c.Args[0],
			suggest(c.Args[0], []string{"kurento", "coturn", "redis", "mysql", "haproxy", "server"}))
	}
	if known := append(sortedKeys(partActions), restartWord); !contains(known, c.Args[1]) {
		return fmt.Errorf("part cannot %q%s", c.Args[1], suggest(c.Args[1], known))
	}
	if c.Get("after") != "" && c.Args[1] != restartWord {
		return fmt.Errorf("after= is of part restart")
	}
	return s.requires(needPartsControl, "part "+c.Args[1])
}

func actOnLine(w World, _ *Scenario, c Clause) error {
	control, ok := w.(PartsControl)
	if !ok {
		return errors.New("this world has no lines between its parts")
	}
	l, err := control.Line(c.Args[0])
	if err != nil {
		return err
	}
	if do := lineActions[arg(c, 1)]; do != nil {
		if err := do(l); err != nil {
			return err
		}
	}
	return shapeLine(l, c)
}

// shapeLine sets what has a number.
func shapeLine(l Line, c Clause) error {
	if v := c.Get("loss"); v != "" {
		percent, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return fmt.Errorf("loss: %w", err)
		}
		if err := l.SetLoss(percent); err != nil {
			return err
		}
	}
	if c.Get("delay") == "" {
		return nil
	}
	d, err := c.after("delay", 0)
	if err != nil {
		return err
	}
	return l.SetDelay(d)
}

func checkLine(s *Scenario, st Step, c Clause) error {
	if err := oneOf(0, lineNames...)(s, st, c); err != nil {
		return err
	}
	if what := arg(c, 1); what != "" && lineActions[what] == nil {
		return fmt.Errorf("line cannot %q%s", what, suggest(what, sortedKeys(lineActions)))
	}
	if arg(c, 1) == "" && c.Get("delay") == "" && c.Get("loss") == "" {
		return fmt.Errorf("line needs cut, restore, reset, delay= or loss=")
	}
	if err := checkLoss(c); err != nil {
		return err
	}
	switch udp := c.Args[0] == udpLine; {
	case c.Get("loss") != "" && !udp:
		return fmt.Errorf("loss= is of line %s: streams lose nothing", udpLine)
	case arg(c, 1) == "reset" && udp:
		return fmt.Errorf("line %s has no connection to reset", udpLine)
	}
	return s.requires(needPartsControl, "line")
}
