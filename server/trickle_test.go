package server_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// TestOfferBehindTheAnswer sends the callee's offer and candidates while its
// endpoint is being made. They are kept, and the caller is told of the answer
// first.
func TestOfferBehindTheAnswer(t *testing.T) {
	for name, slow := range map[string]time.Duration{"quick": 0, "slow": time.Second} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				alice, bob, ref := dialed(w)
				w.media.set(func(m *fakeMedia) { m.delay["create endpoint"] = slow })
				with := ref
				with.SDP, with.Candidate = sdpOffer, hostCandidate
				answer := bob.send(signaling.TypeRTC, signaling.ActionAnswer, ref)
				first := bob.send(signaling.TypeRTC, signaling.ActionCandidate, with)
				offer := bob.send(signaling.TypeRTC, signaling.ActionOffer, with)
				if slow > 0 {
					bob.refused(signaling.CodeBadState, signaling.ActionOffer, with) // one waits
				}
				second := bob.send(signaling.TypeRTC, signaling.ActionCandidate, with)
				if slow > 0 {
					alice.refused(signaling.CodeBadState, signaling.ActionOffer, with) // she knows of no answer
				}
				time.Sleep(5 * time.Second)
				for _, id := range []string{answer, first, offer, second} {
					if f, ok := bob.answer(id); !ok || f.Type != signaling.TypeAck {
						t.Errorf("request %s was answered %s %s", id, f.Kind(), f.Data)
					}
				}
				if got := bob.got("rtc/answer"); len(got) != 1 || !strings.Contains(string(got[0].Data), "answer of p1.e2") {
					t.Errorf("bob was answered %v", got)
				}
				if got := w.media.endpoint("p1.e2").passed(); len(got) != 2 {
					t.Errorf("bob's endpoint was passed %q", got)
				}
				w.journal.inOrder(t, "kms create endpoint", "kms create endpoint", "state join bob", "kms process offer p1.e2", "kms gather p1.e2", "kms add candidate p1.e2")
				alice.one("rtc/answer")
			})
		})
	}
}

// TestOfferBehindAnAnswerThatFails keeps nobody waiting.
func TestOfferBehindAnAnswerThatFails(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		_, bob, ref := dialed(w)
		w.media.set(func(m *fakeMedia) { m.hang["create endpoint"] = true })
		with := ref
		with.SDP = sdpOffer
		answer := bob.send(signaling.TypeRTC, signaling.ActionAnswer, ref)
		offer := bob.send(signaling.TypeRTC, signaling.ActionOffer, with)
		time.Sleep(time.Minute)
		f, _ := bob.answer(answer)
		bob.isError(signaling.CodeMediaFailed, f)
		f, _ = bob.answer(offer)
		bob.isError(signaling.CodeBadState, f)
		bob.one("rtc/ended")
		w.media.set(func(m *fakeMedia) { clear(m.hang) })
	})
}

// TestCandidateBatch sends several candidates in one frame: all count, or none.
func TestCandidateBatch(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, _, ref := connected(w)
		zero := 0
		batch := func(ports ...int) signaling.RTC {
			out := ref
			for _, p := range ports {
				c := signaling.ICECandidate{SDPMLineIndex: &zero}
				if p > 0 {
					c.Candidate = fmt.Sprintf("candidate:1 1 udp 2130706431 10.0.0.2 %d typ host", p)
				}
				out.Candidates = append(out.Candidates, c)
			}
			return out
		}
		alice.rtc(signaling.ActionCandidate, batch(5001, 5002, 0))
		alice.refused(signaling.CodeInvalidCandidate, signaling.ActionCandidate, batch(5003, 80))
		bad := batch(5004, 5005)
		bad.Candidates[1].SDPMid = "x"
		alice.refused(signaling.CodeInvalidCandidate, signaling.ActionCandidate, bad)
		synctest.Wait()
		var got []string
		for _, p := range w.media.endpoint("p1.e1").passed() {
			got = append(got, strings.Fields(p)[5])
		}
		if s := strings.Join(got, " "); s != "5001 5002" {
			t.Errorf("passed on: %s", s)
		}
	})
}

// TestPortScan has a client that names hundreds of ports of a host inside: the
// media server is told of no more than a leg's share, whatever way they come.
func TestPortScan(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, _, ref := connected(w)
		told := func() int {
			synctest.Wait()
			return len(w.media.endpoint("p1.e1").passed())
		}
		var lines strings.Builder
		refused := 0
		for port := range 600 {
			text := fmt.Sprintf("candidate:1 1 tcp 1518280447 10.0.0.5 %d typ host tcptype passive", 2000+port)
			fmt.Fprintf(&lines, "a=%s\r\n", text)
			if f := alice.request(signaling.TypeRTC, signaling.ActionCandidate, signaling.RTC{CallID: ref.CallID, Candidate: text}); f.Type == signaling.TypeError {
				alice.isError(signaling.CodeInvalidCandidate, f)
				refused++
			}
		}
		if n := told(); n != 64 || refused != 600-64 {
			t.Errorf("the media server was told of %d ports, %d were refused", n, refused)
		}
		for port := range 1024 { // the services of a machine
			if port == 9 {
				continue
			}
			alice.refused(signaling.CodeInvalidCandidate, signaling.ActionCandidate,
				signaling.RTC{CallID: ref.CallID, Candidate: fmt.Sprintf("candidate:1 1 udp 1 10.0.0.5 %d typ host", port)})
		}
		inside := ref
		inside.SDP = sdpOffer + lines.String()
		alice.refused(signaling.CodeInvalidCandidate, signaling.ActionOffer, inside)
		inside.SDP = sdpOffer + "a=candidate:1 1 udp 1 127.0.0.1 6379 typ host\r\n"
		alice.refused(signaling.CodeInvalidCandidate, signaling.ActionOffer, inside)
		if n := told(); n != 64 {
			t.Errorf("the media server was told of %d ports", n)
		}
	})
}

// TestOfferWithCandidates passes on an offer with candidates in it, but not the
// names that only the media server's own network could resolve.
func TestOfferWithCandidates(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		bob.rtc(signaling.ActionAnswer, ref)
		ref.SDP = sdpOffer + "a=" + hostCandidate + "\r\na=candidate:2 1 udp 1 x.local 5000 typ host\r\na=end-of-candidates\r\n"
		alice.rtc(signaling.ActionOffer, ref)
		leg, _ := w.state.Hash("rtc:session:session-alice-1")
		if s := leg["sdpOffer"]; !strings.Contains(s, "a="+hostCandidate+"\r\n") || strings.Contains(s, ".local") || !strings.Contains(s, "end-of-candidates") {
			t.Errorf("the media server was offered %q", s)
		}
	})
}

func TestWhereCandidatesPoint(t *testing.T) {
	for _, test := range []struct {
		where    string // transport address port
		more     string
		ok       bool
		loopback bool // ok where loopback is allowed
	}{
		{"udp 10.0.0.2 5000", "", true, true},
		{"udp 192.0.2.9 5000", " raddr 127.0.0.1 rport 22", true, true}, // raddr says nothing to ICE
		{"udp 2001:db8::1 1024", "", true, true},
		{"udp 2001:db8::1 1023", "", false, false},
		{"udp 127.0.0.1 5000", "", false, true},
		{"udp 127.9.9.9 5000", "", false, true},
		{"udp 127.0.0.1 22", "", false, false},
		{"udp ::1 5000", "", false, true},
		{"udp ::ffff:127.0.0.1 5000", "", false, true},
		{"udp 169.254.169.254 8080", "", false, false},
		{"udp ::ffff:169.254.169.254 8080", "", false, false},
		{"udp fe80::1 5000", "", false, false},
		{"udp 224.0.0.251 5353", "", false, false},
		{"udp ff02::fb 5353", "", false, false},
		{"udp 0.0.0.0 5000", "", false, false},
		{"udp :: 5000", "", false, false},
		{"udp 255.255.255.255 5000", "", false, false},
		{"udp 10.0.0.2 0", "", false, false},
		{"udp redis.internal 6379", "", false, false},
		{"tcp 10.0.0.2 9", " tcptype active", true, true},
		{"tcp 10.0.0.2 9", " tcptype passive", false, false},
		{"udp 10.0.0.2 9", "", false, false},
		{"tcp 10.0.0.2 22", " tcptype active", false, false},
	} {
		for _, allow := range []bool{false, true} {
			bubble(t, func(c *server.Config) { c.AllowLoopback = allow }, func(t *testing.T, w *world) {
				_, bob, ref := connected(w)
				f := strings.Fields(test.where)
				ref.Candidate = fmt.Sprintf("candidate:1 1 %s 1 %s %s typ host%s", f[0], f[1], f[2], test.more)
				ok := test.ok || allow && test.loopback
				if f := bob.request(signaling.TypeRTC, signaling.ActionCandidate, ref); (f.Type == signaling.TypeAck) != ok {
					t.Errorf("%s with loopback %v was answered %s %s", ref.Candidate, allow, f.Kind(), f.Data)
				} else if !ok {
					bob.isError(signaling.CodeInvalidCandidate, f)
				}
			})
		}
	}
}
