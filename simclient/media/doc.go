// Package media gives a headless client its media: what it sends, and the proof of
// what it receives.
//
// A [Source] sends a [Clip] of real VP8, H264 or Opus in a loop, driven by a [Pacer]
// that serves any number of clients with a few goroutines. Each frame and each audio
// packet carries a [Marker] inside its codec payload: call, participant, track,
// sequence number and capture time. A [Sink] takes RTP packets, finds the markers and
// says who sent what it hears, what was lost, doubled, reordered or late, when media
// froze or fell silent, and how long it took.
//
// # Why inside the codec payload
//
// A media server such as Kurento takes media out of RTP and packetizes it anew: RTP
// sequence numbers, timestamps, SSRC and header extensions are its own. What the codec
// payload holds arrives unchanged, unless the server transcodes, and then no marker
// arrives at all, which is worth knowing too ([FlowUnmarked]).
//
// # Where the marker goes, and which decoders tolerate it
//
// VP8: behind the last partition, as a trailer. A frame header gives the sizes of all
// token partitions but the last, which reaches to the end of the data (RFC 6386 §9.5).
// The boolean decoder reads as much as the picture needs; the encoder flushed its
// last 32 bits, so bytes behind them change no decision. libvpx, ffmpeg and
// golang.org/x/image/vp8 decode marked frames to identical pictures (the tests check
// all three). A trailer was measured to come through Kurento on every frame.
//
// Opus: in a silent frame. Each packet has code 2 (RFC 6716 §3.2.4), two CELT frames of
// 10 ms: the clip's, bit exact, and one that begins with the silence flag and goes on
// with the marker. A decoder that reads the flag takes all bits of the frame for
// read (§4.3), so it hears 10 ms of silence whatever follows; encoders write the
// same frame as the two bytes ff fe. The clips were encoded from bursts of sound with
// silence between them, so marking replaces silence by silence and both ends keep
// the same state. libopus (checked with 1.3 and 1.6) and ffmpeg's own decoder give
// samples identical to those of an encoder's silent frames, without a complaint;
// libopus also ends in the same range coder state.
//
// Two other places in Opus were tried and do not do. A trailer comes through servers,
// but decoders do not tolerate it: the last frame reaches to the end of the packet, and
// the range decoder reads raw bits from there. Padding of code 3 is tolerated by
// every decoder ("the decoder MUST accept any value for the padding bytes", §3.2.5),
// but not by servers: GStreamer's opusparse adds up the lengths of the frames and
// starts a new packet where they end. Measured with Kurento 7.3.0, each packet with
// padding left as two, one that still announces the padding and lacks it, which decoders
// refuse, and one that is the padding. Where the lengths of the frames make up the
// packet, opusparse keeps it whole.
//
// H264: in an SEI message user_data_unregistered before the first slice (H.264
// §7.3.2.3, §D.1.7), with a UUID of its own and emulation prevention. Decoders must
// ignore SEI that they do not know. Bytes behind a slice would not do: there
// they are trailing cabac_zero_words or an error. The message was measured to come
// through Kurento, and its h264parse, with every access unit.
//
// # Where media are transcoded
//
// A mixer such as Kurento's Composite decodes and codes anew: no marker survives. The clip
// [ClipBarcode] shows its sender's [Barcode] in its picture, beside carrying markers, and a [Viewer] reads
// the barcodes of all tiles in the decoded key frames of the mix. It is VP8, written
// here as flat macroblocks; libvpx, ffmpeg and golang.org/x/image/vp8 show it alike.
//
// # Order and loss
//
// Loss is counted twice: from RTP sequence numbers (the last hop) and from marker
// sequence numbers (end to end). A packet or unit may come 128 numbers late and still
// be told from a duplicate; a video frame is given up as damaged when 16 newer
// frames have begun. A video frame counts when all of its packets came.
//
// # Time
//
// Everything uses plain time and works in a testing/synctest bubble, where frames
// leave at exact instants, and silence is noticed at an exact instant. Make the pacer
// inside the bubble. One-way delay compares two wall clocks: it is exact within one
// process and otherwise as good as their agreement.
package media
