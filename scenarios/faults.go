package scenarios

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Capabilities of worlds whose parts can be made to fail.
const (
	needKMSControl    = "kms-control"
	needKMSFaults     = "kms-faults"
	needRedisControl  = "redis-control"
	needServerControl = "server-control"
)

// MediaServerControl is a World whose media server can be made to fail.
type MediaServerControl interface {
	// KillKMS ends the media server's process.
	KillKMS()
	// RestartKMS kills it if it lives, and starts it again after a while.
	RestartKMS(after time.Duration)
	// HangKMS leaves its connections open and answers nothing on them any more.
	HangKMS() error
	// BreakKMS makes it fail in one way, until HealKMS.
	BreakKMS(KMSFault) error
	// HealKMS ends hanging and all faults.
	HealKMS()
}

// KMSFault is a way in which a media server fails.
type KMSFault struct {
	Do         string        // error, drop, delay, hold, recorder or dtls
	On         string        // a method such as create, an operation such as processOffer or an event such as IceCandidateFound
	Class      string        // of the object that it is about
	Nth, Count int           // the first one that fails, and how many do; 0: all
	Delay      time.Duration // of delay
	Code       int           // of error
	Failure    string        // of recorder: no_space, open or write
}

// RedisControl is a World whose Redis can be made to fail.
type RedisControl interface {
	// RestartRedis cuts its connections and refuses new ones for a while. It keeps
	// its data.
	RestartRedis(away time.Duration)
	// FlushRedis deletes everything.
	FlushRedis()
	// SlowRedis makes each way to and from it take so long; 0 ends that.
	SlowRedis(time.Duration)
}

// ServerControl is a World whose signaling server can be killed.
type ServerControl interface {
	// KillServer ends the server as kill -9 does: nothing that it holds is told
	// anybody or written anywhere.
	KillServer() error
	// StartServer starts another one on the same stores, at the same address.
	StartServer() error
}

// restartTime is how long a server that is restarted is away if the script does
// not say.
const restartTime = time.Second

// faultVerbs are the actions on the system's own parts.
var faultVerbs = []Verb{
	{Name: "kms", Usage: "kill|restart|hang|fault|heal [error|drop|delay|hold|recorder|dtls]", World: true, Min: 1, Max: 2, world: actOnKMS, target: checkKMS,
		Help: "lets the media server fail: kill ends it, restart kills it and starts it again with another id and nothing that it held, hang answers nothing any more, " +
			"fault refuses, loses, delays or keeps back what is asked of it or its events, or breaks recorders, or never finishes DTLS; heal ends hang and all faults; needs kms-control, and fault needs kms-faults",
		Fields: []FieldSpec{{Name: "after", Kind: Duration, Help: "when restart starts it again; 1s if not set"},
			{Name: "on", Kind: Text, Help: "of fault: a method (create, release), an operation (processOffer) or an event (IceCandidateFound)"},
			{Name: "class", Kind: Text, Help: "of fault: the class of the object that is asked or made"},
			{Name: "nth", Kind: Number, Help: "of fault: the first one that fails"}, {Name: "count", Kind: Number, Help: "of fault: how many fail; all if not set"},
			{Name: "delay", Kind: Duration, Help: "of fault delay"}, {Name: "code", Kind: Number, Help: "of fault error: Kurento's code; 40009, not enough resources, if not set"},
			{Name: "failure", Kind: Text, Help: "of fault recorder", Values: []string{"no_space", "open", "write"}}}},
	{Name: "redis", Usage: "restart|flush|slow", World: true, Min: 1, Max: 1, world: actOnRedis, target: checkRedis,
		Help:   "lets Redis fail: restart cuts all connections and refuses new ones for a while, flush deletes everything, slow lets every answer take its time; needs redis-control",
		Fields: []FieldSpec{{Name: "after", Kind: Duration, Help: "how long restart takes; 1s if not set"}, {Name: "delay", Kind: Duration, Help: "of slow, one way; 0s ends it"}}},
	{Name: "server", Usage: "kill|start|restart", World: true, Min: 1, Max: 1, world: actOnServer, target: checkServer,
		Help:   "ends the signaling server as kill -9 does, starts another one on the same stores, or does both; needs server-control",
		Fields: []FieldSpec{{Name: "after", Kind: Duration, Help: "how long restart takes; 1s if not set"}}},
}

// after is the length of time that a clause names.
func (c Clause) after(key string, or time.Duration) (time.Duration, error) {
	if v := c.Get(key); v != "" {
		return parseDuration(v)
	}
	return or, nil
}

// count is the number that a clause names, or another one.
func (c Clause) count(key string, or int) (int, error) {
	return strconv.Atoi(cmp.Or(c.Get(key), strconv.Itoa(or)))
}

func actOnKMS(w World, _ *Scenario, c Clause) error {
	k, ok := w.(MediaServerControl)
	if !ok {
		return errors.New("this world's media server cannot be made to fail")
	}
	switch c.Args[0] {
	case "kill":
		k.KillKMS()
	case "restart":
		after, err := c.after("after", restartTime)
		if err != nil {
			return err
		}
		k.RestartKMS(after)
	case "hang":
		return k.HangKMS()
	case "heal":
		k.HealKMS()
	default:
		f, err := c.kmsFault()
		if err != nil {
			return err
		}
		return k.BreakKMS(f)
	}
	return nil
}

// notEnoughResources is Kurento's code for a media server that takes nothing new.
const notEnoughResources = 40009

func (c Clause) kmsFault() (f KMSFault, err error) {
	f = KMSFault{Do: c.Args[1], On: c.Get("on"), Class: c.Get("class"), Failure: c.Get("failure")}
	var errs [4]error
	f.Nth, errs[0] = c.count("nth", 0)
	f.Count, errs[1] = c.count("count", 0)
	f.Code, errs[2] = c.count("code", notEnoughResources)
	f.Delay, errs[3] = c.after("delay", 0)
	return f, errors.Join(errs[:]...)
}

// kmsFields are the fields that each of kms's actions and faults takes.
var kmsFields = map[string][]string{"kill": nil, "restart": {"after"}, "hang": nil, "heal": nil,
	"fault error": {"on", "class", "nth", "count", "code"}, "fault drop": {"on", "class", "nth", "count"}, "fault delay": {"on", "class", "nth", "count", "delay"},
	"fault hold": {"on", "class", "nth", "count"}, "fault recorder": {"failure"}, "fault dtls": {"count"}}

func checkKMS(s *Scenario, _ Step, c Clause) error {
	what := c.Args[0]
	if len(c.Args) > 1 {
		what += " " + c.Args[1]
	}
	known, ok := kmsFields[what]
	if !ok {
		return fmt.Errorf("kms cannot %q%s", what, suggest(what, sortedKeys(kmsFields)))
	}
	for _, f := range c.Fields {
		if !contains(known, f.Key) {
			return fmt.Errorf("kms %s takes no %s", what, f.Key)
		}
	}
	for _, must := range map[string][]string{"fault error": {"on"}, "fault drop": {"on"}, "fault delay": {"on", "delay"}, "fault hold": {"on"}, "fault recorder": {"failure"}}[what] {
		if c.Get(must) == "" {
			return fmt.Errorf("kms %s needs %s=", what, must)
		}
	}
	return s.requires(kmsNeed(s, c.Args[0]), "kms "+what)
}

// kmsNeed is the capability that an action of kms takes: heal ends what either made.
func kmsNeed(s *Scenario, action string) string {
	if action == "fault" || action == "heal" && contains(s.Needs, needKMSFaults) {
		return needKMSFaults
	}
	return needKMSControl
}

func actOnRedis(w World, _ *Scenario, c Clause) error {
	r, ok := w.(RedisControl)
	if !ok {
		return errors.New("this world's Redis cannot be made to fail")
	}
	switch c.Args[0] {
	case "flush":
		r.FlushRedis()
	case "restart":
		away, err := c.after("after", restartTime)
		if err != nil {
			return err
		}
		r.RestartRedis(away)
	default:
		d, err := c.after("delay", 0)
		if err != nil {
			return err
		}
		r.SlowRedis(d)
	}
	return nil
}

func checkRedis(s *Scenario, st Step, c Clause) error {
	if err := oneOf(0, "restart", "flush", "slow")(s, st, c); err != nil {
		return err
	}
	if (c.Get("delay") != "") != (c.Args[0] == "slow") {
		return fmt.Errorf("delay= is of redis slow, which needs it")
	}
	return s.requires(needRedisControl, "redis "+c.Args[0])
}

func actOnServer(w World, _ *Scenario, c Clause) error {
	v, ok := w.(ServerControl)
	if !ok {
		return errors.New("this world's server cannot be killed")
	}
	if c.Args[0] != "start" {
		if err := v.KillServer(); err != nil || c.Args[0] == "kill" {
			return err
		}
		away, err := c.after("after", restartTime)
		if err != nil {
			return err
		}
		time.Sleep(away)
	}
	return v.StartServer()
}

func checkServer(s *Scenario, st Step, c Clause) error {
	if err := oneOf(0, "kill", "start", "restart")(s, st, c); err != nil {
		return err
	}
	if c.Get("after") != "" && c.Args[0] != "restart" {
		return fmt.Errorf("after= is of server restart")
	}
	return s.requires(needServerControl, "server "+c.Args[0])
}
