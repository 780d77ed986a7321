package netsim

import "sync/atomic"

// Traffic counts the datagrams that a link has seen since it was made, by
// direction and class: t.Out[netsim.RTP].Lost.
type Traffic struct {
	Out, In [numClasses]Count
}

// Count counts the datagrams of one class in one direction.
type Count struct {
	Packets    uint64 // offered to the link
	Lost       uint64 // dropped by SetLoss
	Cut        uint64 // dropped because the link was cut
	Duplicated uint64 // sent twice because of SetDuplicates
}

// Passed returns how many of the datagrams got through, not counting copies.
func (c Count) Passed() uint64 { return c.Packets - c.Lost - c.Cut }

// counter is a Count that is being counted.
type counter struct{ packets, lost, cut, doubled atomic.Uint64 }

// Traffic returns what the link has counted so far. Each number is exact; as
// they are read one after the other, they may be of slightly different ages.
func (l *Link) Traffic() Traffic {
	var t Traffic
	for class := range numClasses {
		t.Out[class] = l.counts[Out][class].read()
		t.In[class] = l.counts[In][class].read()
	}
	return t
}

// read returns the current numbers, drops before packets so that Passed
// cannot become negative.
func (c *counter) read() Count {
	n := Count{Lost: c.lost.Load(), Cut: c.cut.Load(), Duplicated: c.doubled.Load()}
	n.Packets = c.packets.Load()
	return n
}
