package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

type doctorCmd struct {
	Kms        string `name:"kms" placeholder:"ws://HOST:PORT/kurento" help:"A Kurento that shall be used: it is asked for its version and modules, and pipelines are made and released."`
	Redis      string `env:"CALLBENCH_REDIS" placeholder:"HOST:PORT" help:"A Redis that shall be used: HOST:PORT, or a URL redis://USER:PASSWORD@HOST:PORT/DATABASE, with rediss:// for TLS."`
	Mysql      string `name:"mysql" env:"CALLBENCH_MYSQL" placeholder:"USER:PASSWORD@tcp(HOST:PORT)/DATABASE" help:"A MySQL or MariaDB that shall be used."`
	Turn       string `placeholder:"turn:HOST:PORT" help:"A TURN server that shall be used, over UDP: with its secret an allocation is made, without one it is asked for a binding."`
	TurnSecret string `env:"CALLBENCH_TURN_SECRET" placeholder:"SECRET" help:"Secret of the TURN server's REST credentials."`
	Calls      int    `default:"100" help:"How many calls at a time the machine shall hold."`
	World      string `default:"local" enum:"local,containers" help:"What shall be played: local, which is virtual too, or containers: then the container engine and its images are examined as well."`
	JSON       bool   `name:"json" help:"Print JSON."`

	imageFlags
}

// state is what a check found.
type state string

const (
	stateOK      state = "OK"
	stateWarn    state = "WARN"
	stateMissing state = "MISSING"
)

// finding is what one check says.
type finding struct {
	Name  string `json:"name"`
	State state  `json:"state"`
	Found string `json:"found"`
	// Why tells what it matters for, Do what helps.
	Why string `json:"why"`
	Do  string `json:"do,omitempty"`
	// Asked is set for what a flag asked for: it must be usable.
	Asked bool `json:"asked"`

	mock bool // what was asked for as a Kurento is a mock
}

// examination is everything that the doctor says.
type examination struct {
	Checks []finding `json:"checks"`
	Proven []string  `json:"proven"`
	// Mock is what the mock does differently from a real Kurento.
	Mock []string `json:"mock"`
}

// mockDiffers says plainly what a pass on the mock does not prove.
var mockDiffers = []string{
	"Composite mixes nothing: the port that spoke last is forwarded to all, its sound and its video, with a key frame at each switch. A real one scales every participant into a tile (800x600, as many columns as the root of their number) and codes the mix anew.",
	"On a real Composite markers do not survive, because it transcodes: who is in the mix is proven by a barcode in each picture, read from the decoded key frames of the mix (VP8). Its sound is known to flow, and not whose it is. On the mock both live on.",
	"Nothing is transcoded: a call whose parties have no codec in common has no media, where a real one would decode and code again, at the cost of its CPU.",
	"Filters pass media through unchanged; AlphaBlending shows one port and is silent.",
	"Recordings hold frames as they came, without those that lost a packet; players play WebM, Matroska, IVF and Ogg, and no RTSP.",
	"Its CPU, memory and times are its own: capacity and latency are facts of the real server only.",
}

// Run implements `callbench doctor`.
func (c *doctorCmd) Run(ctx context.Context, out *console) error {
	if c.Calls < 1 {
		return fmt.Errorf("-calls must be at least 1")
	}
	if name := c.imageFlags.first(); name != "" && c.World != "containers" {
		return fmt.Errorf("-%s is of the containers world; add -world containers", name)
	}
	return c.report(out, c.examine(ctx, thisMachine()))
}

func (c *doctorCmd) examine(ctx context.Context, m machine) examination {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	e := examination{Checks: m.check(c.Calls), Mock: mockDiffers}
	e.Checks = append(e.Checks, c.services(ctx)...)
	if c.World == "containers" {
		e.Checks = append(e.Checks, c.containers(ctx)...)
	}
	e.Proven = c.proven(e.Checks)
	return e
}

// realKurento tells whether the Kurento that was asked for is usable and no mock.
func realKurento(checks []finding) bool {
	for _, f := range checks {
		if f.Name == "kurento" {
			return f.State != stateMissing && !f.mock
		}
	}
	return false
}

// proven says what runs on this machine show, and what they do not.
func (c *doctorCmd) proven(checks []finding) []string {
	usable := func(name string) bool {
		for _, f := range checks {
			if f.Name == name {
				return f.State != stateMissing
			}
		}
		return false
	}
	found := func(name string) string {
		return checks[slices.IndexFunc(checks, func(f finding) bool { return f.Name == name })].Found
	}
	p := []string{"Signaling, ICE, DTLS, SRTP and media between clients and server: yes, in memory and on loopback sockets, by markers in every frame and packet."}
	if c.Kms != "" && realKurento(checks) {
		p = append(p, "A real media server: yes, with callbench run -world local -kms "+c.Kms+".")
	} else {
		p = append(p, "A real media server: no. The mock stands for it, which differs as told below; -kms names a real one.")
	}
	switch {
	case c.Redis != "" && usable("redis"):
		p = append(p, "A real Redis: yes, "+found("redis")+".")
	case usable("redis-server"):
		p = append(p, "A real Redis: yes in the tests, which take its address from CALLBENCH_REDIS_ADDR; runs keep state in a Redis in memory.")
	default:
		p = append(p, "A real Redis: no. Its wire protocol is real, the server behind it is in memory.")
	}
	if c.Turn != "" && usable("turn") {
		p = append(p, "Relaying through a real TURN server: yes, with -turn "+c.Turn+".")
	} else {
		p = append(p, "Relaying: yes, through the embedded TURN server; -turn names a real one.")
	}
	if usable("chromium") {
		p = append(p, "A real browser: yes in the tests (make browser).")
	} else {
		p = append(p, "A real browser: no; clients pass for one.")
	}
	return p
}

// report prints the examination; what was asked for and is not usable fails it.
func (c *doctorCmd) report(out *console, e examination) error {
	if c.JSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(e); err != nil {
			return fmt.Errorf("print the examination: %w", err)
		}
	} else {
		e.print(out)
	}
	for _, f := range e.Checks {
		if f.Asked && f.State == stateMissing {
			return errFailed
		}
	}
	return nil
}

func (e examination) print(out *console) {
	for _, f := range e.Checks {
		fmt.Fprintf(out, "%-8s%-14s%s\n", f.State, f.Name, f.Found)
		if f.State != stateOK {
			fmt.Fprintf(out, "%22s%s\n%22s→ %s\n", "", f.Why, "", f.Do)
		}
	}
	fmt.Fprint(out, "\nWhat is proven here\n  ", strings.Join(e.Proven, "\n  "), "\n")
	fmt.Fprint(out, "\nWhat the mock does differently from a real Kurento\n  ", strings.Join(e.Mock, "\n  "), "\n")
}
