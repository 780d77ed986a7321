package world

import (
	"testing"

	"github.com/callbench/callbench/reports"
	"github.com/callbench/callbench/scenarios"
)

// What a script does to the system's parts shows.
func TestFaultsStrike(t *testing.T) {
	for name, text := range map[string]string{ // connections that Redis has cut are found out one by one, by what fails on them
		"the media server refuses": `
need    kms-faults
clients alice=electron bob=electron
kms     fault error on=create class=MediaPipeline count=1
! alice call bob code=overloaded
at 10s  alice call bob
expect  bob incoming
alice   cancel
expect  bob ended
expect  clean
`,
		"the media server dies": `
need    kms-control kmsevents
clients alice=electron bob=electron
kms     kill
! alice call bob code=media_failed
kms     restart after=200ms
expect  kms event kms.started
`,
		"the server dies": `
need    server-control
clients alice=electron bob=electron
server  kill
expect  alice,bob reconnecting
never   alice,bob event session.welcome for=500ms
server  start
expect  alice,bob event session.welcome within=10s
alice   call bob
expect  bob incoming
alice   cancel
expect  bob ended
expect  clean
`,
		"Redis goes and comes": `
need    redis-control
clients alice=electron bob=electron
redis   restart after=300ms
redis   flush
expect  redis "ws:session:*" count=0
at 2s   alice call bob
expect  bob incoming
alice   cancel
expect  bob ended
alice   call bob
expect  bob incoming
expect  redis "rtc:room:*:state" count=1
alice   cancel
expect  bob ended
`,
		"Redis is slow": `
need    redis-control
clients alice=electron bob=electron
redis   slow delay=200ms
alice   call bob as call
expect  bob incoming as ring
redis   slow delay=0s
alice   cancel
expect  bob ended
expect  clean
`,
	} {
		s, err := scenarios.Parse("fault.call", text)
		if err == nil {
			err = s.Check()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			r, events := sim(t, s, 1, Plant{})
			passed(t, r, events)
			if name != "Redis is slow" {
				return
			}
			if took := r.Spans[1].Took; r.Verdict == reports.Pass && took < 400e6 {
				t.Errorf("it rang after %v", took)
			}
		})
	}
}
