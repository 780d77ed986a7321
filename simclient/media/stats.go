package media

import "time"

// SinkStats is what a sink counted. Units are frames of video and packets of audio.
type SinkStats struct {
	RTP RTPStats

	// Good units were whole, marked by an expected participant of the expected call,
	// and had not come before. KeyFrames of them were key frames.
	Good, KeyFrames uint64
	// Lost units are missing in the sequence of markers, end to end. Those on their way
	// count until they come.
	Lost uint64
	// Duplicates came twice, Reordered came behind a unit with a higher number, Late came
	// more than 128 units behind (they are not Good: they might be duplicates).
	Duplicates, Reordered, Late uint64
	// Damaged frames missed a packet and were given up, 16 frames later.
	Damaged uint64
	// Unmarked units carry no marker, Corrupt ones a damaged one or one of another
	// version, WrongOrigin ones that of somebody who was not expected.
	Unmarked, Corrupt, WrongOrigin uint64
	// Unfollowed units came from expected participants, but from more than 64 tracks.
	Unfollowed uint64
	// Restarts counts sources whose marker sequence began anew.
	Restarts uint64

	// Freezes by the rule of libwebrtc, and how long those intervals were in total.
	Freezes    uint64
	FreezeTime time.Duration
	// Pauses are intervals in which the sender sent nothing, as its capture times and
	// sequence numbers say. They are not freezes.
	Pauses    uint64
	PauseTime time.Duration
	// Gaps are silences of at least SilentAfter that ended; GapTime is counted from the
	// last good unit to the next one.
	Gaps    uint64
	GapTime time.Duration
	// LongestGap is the longest time between two good units of one origin.
	LongestGap time.Duration

	// Delay is the one-way delay of good units, from capture to the arrival of the packet
	// that completed them. It needs one clock, or two that agree.
	Delay Histogram
	// First and Last are the arrivals of the first and the last good unit.
	First, Last time.Time
	// Origins lists the expected tracks that were heard, Wrong the others (up to 16).
	Origins []OriginStats
	Wrong   []WrongOrigin
}

// RTPStats counts packets on the last hop, from the media server to this client.
type RTPStats struct {
	Packets, Bytes uint64
	// Lost is RFC 3550's number of packets lost: expected less received. A packet that
	// comes up to 128 packets late is taken off again.
	Lost uint64
	// Duplicates came twice, Reordered behind a higher number, Late more than 128 behind.
	Duplicates, Reordered, Late uint64
	// Malformed packets are no RTP, or their payload does not fit the codec.
	Malformed uint64
	// Streams counts SSRCs, and jumps of more than 3,000 sequence numbers within one.
	Streams uint64
}

// WrongOrigin is a track that should not have been heard.
type WrongOrigin struct {
	Call        uint64
	Participant uint32
	Track       uint8
	Units       uint64
}

// Sub returns what was counted since prev, an earlier snapshot of the same sink.
// LongestGap, First, Last, Origins and Wrong stay those of the whole time. Losses
// that were made good since then show as 0.
func (s SinkStats) Sub(prev SinkStats) SinkStats {
	d := s
	d.RTP = s.RTP.Sub(prev.RTP)
	d.Good -= prev.Good
	d.KeyFrames -= prev.KeyFrames
	d.Lost -= min(prev.Lost, d.Lost)
	d.Duplicates -= prev.Duplicates
	d.Reordered -= prev.Reordered
	d.Late -= prev.Late
	d.Damaged -= prev.Damaged
	d.Unmarked -= prev.Unmarked
	d.Corrupt -= prev.Corrupt
	d.WrongOrigin -= prev.WrongOrigin
	d.Unfollowed -= prev.Unfollowed
	d.Restarts -= prev.Restarts
	d.Freezes -= prev.Freezes
	d.FreezeTime -= prev.FreezeTime
	d.Pauses -= prev.Pauses
	d.PauseTime -= prev.PauseTime
	d.Gaps -= prev.Gaps
	d.GapTime -= prev.GapTime
	d.Delay = s.Delay.Sub(&prev.Delay)
	return d
}

// Sub returns what was counted since prev.
func (s RTPStats) Sub(prev RTPStats) RTPStats {
	s.Packets -= prev.Packets
	s.Bytes -= prev.Bytes
	s.Lost -= min(prev.Lost, s.Lost)
	s.Duplicates -= prev.Duplicates
	s.Reordered -= prev.Reordered
	s.Late -= prev.Late
	s.Malformed -= prev.Malformed
	s.Streams -= prev.Streams
	return s
}
