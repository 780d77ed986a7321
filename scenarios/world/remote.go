package world

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/callbench/callbench/reports/trace"
	"github.com/callbench/callbench/scenarios"
)

// Target is a system that somebody else runs: a signaling server at a URL, and as
// much of what stands behind it as can be looked at.
type Target struct {
	// URL of the signaling server, ws:// or wss://.
	URL string
	// TLS of wss:// URLs; nil trusts whom this machine trusts.
	TLS *tls.Config
	// Token gives what a client shows when it connects; nil shows nothing.
	Token func(ctx context.Context, c scenarios.Client) (string, error)
	// Forge gives a token that is of one of the kinds of the token verb: wrong, expired
	// or a duration. Nil if no token can be signed here.
	Forge func(c scenarios.Client, kind string) (string, error)
	// Accounts play the users of each script, in their order. Nil: the server knows
	// users of the script's names.
	Accounts []Account
	// Level is the highest that the server speaks; nil is 1.
	Level *int
	// Features of its welcome (callid, ack, rooms, history, turn …), if they are known.
	// Nil: it has all.
	Features []string
	// Markers says that the media server forwards media as it is, also in a mix.
	Markers bool
	Probes  Probes
	// Parts is what is known of the system, for the report.
	Parts map[string]string
}

// Account is a user that the server knows.
type Account struct {
	User    string
	Devices []string // ids of its devices; the script's own if there are not enough
}

// Remote is a world that others run: it has clients and probes, and nothing of the
// system itself. It is played in real time.
type Remote struct {
	*sockets
	target Target
	crew   *crew
	probes probes
	turn   *relays // for clients of level 0, to whom nobody tells of TURN servers

	mu    sync.Mutex
	kinds map[string]string // of tokens, by user and device; good if absent
}

// RemoteStage plays on a system that somebody else runs.
func RemoteStage(target Target, seed int64) scenarios.Stage {
	return scenarios.Stage{Name: "remote", Parts: target.parts(), Lacks: target.lacks, Fit: target.fit, Blind: target.blind(),
		Open: func(ctx context.Context, s *scenarios.Scenario, log *trace.Log) (scenarios.World, error) {
			return NewRemote(ctx, s, target, seed, log)
		}}
}

// parts is what runs, as far as it is known.
func (t *Target) parts() map[string]string {
	parts := map[string]string{"callbench": Version, "go": runtime.Version(), "webrtc": "pion " + library("github.com/pion/webrtc/v4"), "server": "at " + withoutSecrets(t.URL)}
	if t.TLS != nil && t.TLS.InsecureSkipVerify {
		parts["tls"] = "the server's certificate was not verified"
	}
	for name, is := range t.Probes.parts() {
		parts[name] = is
	}
	for name, is := range t.Parts {
		parts[name] = is
	}
	return parts
}

// blind says what cannot be seen of the system.
func (t *Target) blind() map[string]string {
	blind := t.Probes.blind()
	blind[scenarios.SightPast] = "users of a remote server have a past, which its pages of history count as well"
	return blind
}

// withoutSecrets is a URL without what may be secret in it.
func withoutSecrets(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "an address that is no URL"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// notOurs are the capabilities that somebody else's system has not got, and why.
var notOurs = map[string]string{
	"virtualtime":    "the minutes would pass in real time",
	"kmsevents":      "a remote media server tells nobody what it is asked for",
	"kms-control":    "a remote media server does not fail when it is told to",
	"kms-faults":     "a remote media server does not fail when it is told to",
	"parts-control":  "the parts of a remote system are not stopped from here",
	"redis-control":  "a remote Redis does not fail when it is told to",
	"server-control": "a remote server is not killed from here",
	"push":           "whom a remote server wakes is not told here",
	"files":          "the files of recordings are on the remote machines",
	"rotation":       "the secrets of a remote TURN server are not changed from here",
	"revocation":     "tokens are taken back by the product's login service",
	"blocks":         "who blocks whom is the product's to say",
}

// ofFeatures are the features of welcome that capabilities are.
var ofFeatures = map[string]string{"ack": "ack", "callid": "callid", "resume": "resume", "rooms": "rooms", "history": "history", "turn": "turn"}

// lacks says why the system has not got a capability.
func (t *Target) lacks(capability string) string {
	switch feature := ofFeatures[capability]; {
	case notOurs[capability] != "":
		return notOurs[capability]
	case capability == scenarios.Chromium:
		return noChromium()
	case capability == "tokens" && t.Forge == nil:
		return "tokens cannot be signed here: their source gives good ones only"
	case capability == "mixed" && !t.Markers:
		return "a media server that mixes codes anew, without markers"
	case feature != "" && t.Features != nil && t.level() > 0 && !slices.Contains(t.Features, feature):
		return "the server's welcome lacks the feature " + feature
	case capability == "turn" && t.Probes.TURN == nil && !slices.Contains(t.Features, "turn"):
		return "no TURN server was named"
	case capability == "allocations" && t.Probes.TURN == nil:
		return "no TURN server was named"
	case capability == "allocations":
		return t.Probes.TURN.lacks(capability)
	}
	return ""
}

func (t *Target) level() int {
	if t.Level == nil {
		return 1
	}
	return *t.Level
}

// fit gives a scenario the accounts that play its users, and the server's level. It
// is not played if it wants the server set otherwise than it is.
func (t *Target) fit(s *scenarios.Scenario) (fitted *scenarios.Scenario, lack string) {
	switch {
	case s.RoomLimit() != 0:
		return s, "set room_limit: the limits of a remote server are not the scenario's to set"
	case s.TURNTTL() != 0:
		return s, "set turn_ttl: the credentials of a remote TURN server are not the scenario's to limit"
	case s.ResumeWindow() != 0:
		return s, "set resume_window: how long a remote server keeps sessions is not the scenario's to set"
	case s.Level() < t.level():
		return s, "set level=0: the server speaks level 1"
	}
	s = s.AtLevel(t.level())
	users := s.Users()
	switch {
	case t.Accounts == nil:
		return s, ""
	case len(users) > len(t.Accounts):
		return s, fmt.Sprintf("it has %d users, and there are %d accounts", len(users), len(t.Accounts))
	}
	return t.cast(s, users), ""
}

// cast lets accounts play the users of a script.
func (t *Target) cast(s *scenarios.Scenario, users []string) *scenarios.Scenario {
	accounts, devices := map[string]string{}, map[string][]string{}
	for i, u := range users {
		a := t.Accounts[i]
		accounts[u], devices[a.User] = a.User, a.Devices
	}
	s = s.WithUsers(accounts)
	for i := range s.Clients {
		c := &s.Clients[i]
		if rest := devices[c.User]; len(rest) > 0 {
			c.Device, devices[c.User] = rest[0], rest[1:]
		}
	}
	return s
}

// NewRemote begins to play a scenario, which has been fitted to the target.
func NewRemote(ctx context.Context, s *scenarios.Scenario, target Target, seed int64, log *trace.Log) (*Remote, error) {
	r := &Remote{sockets: newSockets(seed, log), target: target, kinds: map[string]string{}}
	if err := r.begin(ctx, s); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Remote) begin(ctx context.Context, s *scenarios.Scenario) (err error) {
	if r.crew, err = newCrew(s.Video(), runtime.GOMAXPROCS(0)); err != nil {
		return err
	}
	if outside := r.target.Probes.TURN; outside != nil && outside.Secret != "" {
		if r.turn, err = outsideTURN(*outside, s.TURNTTL()); err != nil {
			return err
		}
	}
	r.probes, err = openProbes(ctx, r.target.Probes, s)
	return err
}

// Client implements scenarios.World.
func (r *Remote) Client(c scenarios.Client, log *trace.Log) (scenarios.Caller, error) {
	cfg, err := r.sockets.config(c)
	if err != nil {
		return nil, err
	}
	cfg.URL, cfg.TLS, cfg.Loopback = r.target.URL, r.target.TLS, onLoopback(r.target.URL)
	cfg.Token = func(ctx context.Context) (string, error) { return r.token(ctx, c) }
	if r.target.level() == 0 {
		cfg.Level = new(int)
	}
	if r.turn != nil && (r.target.level() == 0 || c.Has("level0")) {
		cfg.ICEServers, _ = r.turn.issuer.ICE(c.User)
	}
	if c.Chromium() {
		return r.crew.tab(c, log, r.link(c), cfg)
	}
	return r.crew.caller(c, log, cfg)
}

// token is what a client shows now.
func (r *Remote) token(ctx context.Context, c scenarios.Client) (string, error) {
	r.mu.Lock()
	kind := r.kinds[c.User+"/"+c.Device]
	r.mu.Unlock()
	switch {
	case kind == scenarios.TokenMissing:
		return "", nil
	case kind != "" && kind != scenarios.TokenGood:
		return r.target.Forge(c, kind)
	case r.target.Token == nil:
		return "", nil
	}
	return r.target.Token(ctx, c)
}

// Token implements scenarios.World.
func (r *Remote) Token(c scenarios.Client, kind string) error {
	switch kind {
	case scenarios.TokenGood, scenarios.TokenMissing:
	case scenarios.TokenRevoked:
		return errors.New(notOurs["revocation"])
	default:
		if r.target.Forge == nil {
			return errors.New("tokens cannot be signed here")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kinds[c.User+"/"+c.Device] = kind
	return nil
}

// Block implements scenarios.World.
func (r *Remote) Block(string, string, bool) error { return errors.New(notOurs["blocks"]) }

// Probe implements scenarios.World.
func (r *Remote) Probe(ctx context.Context) ([]scenarios.Finding, error) { return r.probes.look(ctx) }

// Settle implements scenarios.World.
func (r *Remote) Settle() time.Duration { return 15 * time.Second }

// Close implements scenarios.World.
func (r *Remote) Close() error {
	err := errors.Join(r.probes.close(), r.crew.close())
	r.hangUp()
	return err
}
