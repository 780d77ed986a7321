package simclient

import "time"

// life is where the app and its machine stand.
type life struct {
	background bool
	asleep     bool
	until      time.Time // the machine sleeps
	alarm      *time.Timer
}

// Background sends the app to the background. What becomes of it there is the
// profile's. One that suspends stops as its JavaScript does: what arrives waits
// in the native socket, timers that are due fire when it comes back, and what
// the methods of Client ask for is done then, while the socket goes on to answer
// pings and a call to carry media. What the app would have to see to be told,
// such as ICE's states, is told when it comes back, too.
func (c *Client) Background() {
	c.native(func() {
		if c.life.background {
			return
		}
		c.life.background = true
		c.callEvent(c.call, eventBackground)
		c.followCapture()
		if c.cfg.Profile.Suspends {
			c.q.hold(heldInBackground)
		}
	})
}

// Foreground brings the app back. Whatever waited is handled in order, and then
// the app asks at once whether its connection is alive, or goes to get a new one
// without waiting any longer.
func (c *Client) Foreground() {
	c.native(func() {
		if !c.life.background {
			return
		}
		c.life.background = false
		c.callEvent(c.call, eventForeground)
		c.followCapture()
		c.q.release(heldInBackground)
		if c.cfg.Profile.Suspends {
			c.q.Do(c.resurface)
		}
	})
}

// Sleep puts the whole machine to sleep for d and returns at once. Nothing is
// sent or answered, no pong, no media, no ICE check. Datagrams that arrive are
// lost; what arrives on a stream is read afterwards, if it still stands. Then
// all timers find that time has jumped. A longer sleep replaces a shorter one;
// Close wakes the machine.
func (c *Client) Sleep(d time.Duration) {
	c.native(func() {
		until := time.Now().Add(d)
		if d <= 0 || c.life.asleep && !until.After(c.life.until) {
			return
		}
		c.callEvent(c.call, eventSleep, ms("for_ms", d))
		if c.life.asleep {
			c.life.alarm.Stop()
		}
		c.life.asleep, c.life.until = true, until
		c.life.alarm = time.AfterFunc(d, func() { c.q.now(c.wake) })
		c.followCapture()
		c.q.hold(heldAsleep)
		c.gate.shut()
	})
}

// wake ends a sleep. What the app has missed comes before what then arrives.
func (c *Client) wake() {
	if !c.life.asleep || time.Now().Before(c.life.until) {
		return
	}
	c.life.asleep = false
	c.callEvent(c.call, eventWake)
	c.q.release(heldAsleep)
	c.q.Do(c.resurface)
	c.gate.open()
	c.followCapture() // behind the open gate: else whether the first units get through would be chance
}

// native runs f, and waits for it, whether the app runs or not.
func (c *Client) native(f func()) {
	done := make(chan struct{})
	if c.q.now(func() { f(); close(done) }) {
		<-done
	}
}

// resurface is what an app does first when it has been away.
func (c *Client) resurface() {
	if c.link.state == linkWaiting {
		c.link.timer.stop()
		c.attempt()
		return
	}
	c.probe()
}

// captures tells whether camera and microphone run.
func (l *life) captures(p *Profile) bool {
	return !l.asleep && (!l.background || p.BackgroundMedia)
}

// followCapture lets the call's media follow the app.
func (c *Client) followCapture() {
	if c.call == nil || c.call.media == nil {
		return
	}
	if c.life.captures(&c.cfg.Profile) {
		c.call.media.capture()
	} else {
		c.call.media.pause()
	}
}

// rouse ends whatever keeps the client from closing. It is over with the app
// before any of what waited is handled.
func (c *Client) rouse() {
	if c.life.asleep {
		c.life.asleep = false
		c.life.alarm.Stop()
	}
	c.q.release(heldInBackground | heldAsleep)
	c.gate.open()
}

// capture sends, if media has been started and the app may.
func (m *mediaFlow) capture() {
	if !m.started || !m.c.life.captures(&m.c.cfg.Profile) {
		return
	}
	for _, s := range m.senders {
		if err := s.start(); err != nil {
			m.c.failure(m.call, "start "+string(s.kind), err)
		}
	}
}

// pause stops sending until the next capture.
func (m *mediaFlow) pause() {
	for _, s := range m.senders {
		s.stop()
	}
}
