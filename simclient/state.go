package simclient

// State is a snapshot of a client.
type State struct {
	// Link is idle, dialing, greeting, up, waiting (for the next attempt to reconnect)
	// or closed.
	Link string
	// Session and User are empty without a session. User is who the server says that
	// the client is. Level 0 tells no Session, and User is the client's own word.
	Session, User string
	// Level of the protocol that is spoken, or tried.
	Level int
	// Call, Room, Peer and CallState are empty without a call. Level 0 has no Call, and
	// a caller's Room only after the answer. CallState is dialing,
	// outgoing, ringing, incoming, accepting, accepted, connected or leaving.
	Call, Room, Peer string
	CallState        string
	// Leg is the number of the call's PeerConnection, from 1; 0 without one.
	Leg      int
	Counters Counters
}

// Counters count since the client was made.
type Counters struct {
	Sent, Received uint64 // frames
	Receipts       uint64 // that were sent for pushes
	Duplicates     uint64 // pushes that came again and were dropped
	Missing        uint64 // pushes that never came, by their numbers
	Violations     uint64 // of the protocol, by the server
	Reconnects     uint64 // sockets that were lost
}

// State returns a snapshot. That of a closed client is its last one.
func (c *Client) State() State {
	result := make(chan State, 1)
	if !c.q.now(func() { result <- c.snapshot() }) {
		<-c.q.run.Done()
		return c.snapshot()
	}
	return <-result
}

func (c *Client) snapshot() State {
	s := State{Link: string(c.link.state), Session: c.session.id, User: c.session.user, Level: c.link.level.number(), Counters: c.count}
	if k := c.call; k != nil {
		s.Call, s.Room, s.Peer, s.CallState = k.id, k.room, k.peer, string(k.state)
		if k.leg != nil {
			s.Leg = k.leg.n
		}
	}
	return s
}
