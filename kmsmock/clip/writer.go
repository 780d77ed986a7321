package clip

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/at-wat/ebml-go/mkvcore"
	"github.com/at-wat/ebml-go/webm"
)

// A File is what a Writer writes to: from front to back, and at the end once
// more the length and the index at the front.
type File interface {
	io.Writer
	io.WriterAt
	io.Closer
}

// The two document types of a Writer.
const (
	WebM     = "webm"
	Matroska = "matroska"
)

// CanWrite tells whether a document of the type may hold the codec. WebM is
// for VP8, VP9 and Opus.
func CanWrite(docType, codec string) bool {
	_, known := codecIDs[codec]
	return known && (docType == Matroska || codec == VP8 || codec == VP9 || codec == Opus)
}

// indexSize is the room for the index at the front of a file, in bytes; a
// longer one is thinned out.
const indexSize = 4096

// A Writer writes a WebM or Matroska file that can be searched in.
type Writer struct {
	sink   *sink
	tracks []Track
	out    []mkvcore.BlockWriteCloser
}

// NewWriter writes the head of a file. keys are the first key frames of the
// tracks, of which the head tells size and parameters. Close closes f too.
func NewWriter(f File, docType string, tracks []Track, keys [][]byte) (*Writer, error) {
	w := &Writer{sink: &sink{File: f}, tracks: tracks}
	header := *webm.DefaultEBMLHeader
	header.DocType = docType
	var entries []mkvcore.TrackDescription
	main := uint64(1)
	for i, t := range tracks {
		number := uint64(i + 1)
		if !t.Audio() {
			main = number
		}
		entries = append(entries, mkvcore.TrackDescription{TrackNumber: number, TrackEntry: entry(number, t, keys[i])})
	}
	out, err := mkvcore.NewSimpleBlockWriter(w.sink, entries,
		mkvcore.WithEBMLHeader(&header),
		mkvcore.WithSegmentInfo(&webm.Info{TimecodeScale: 1e6, MuxingApp: "callbench", WritingApp: "callbench"}),
		mkvcore.WithSeekHead(true), mkvcore.WithCues(indexSize), mkvcore.WithMinMaxClusterDuration(main, 1000, 5000),
		mkvcore.WithOnFatalHandler(w.sink.fail),
	)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("clip: write head: %w", err)
	}
	w.out = out
	if err := w.sink.failure(); err != nil {
		_ = w.Close() // ends the library's writing goroutine too
		return nil, err
	}
	return w, nil
}

// entry describes a track.
func entry(number uint64, t Track, key []byte) webm.TrackEntry {
	e := webm.TrackEntry{TrackNumber: number, TrackUID: number, CodecID: codecIDs[t.Codec], TrackType: 1}
	if t.Audio() {
		e.TrackType = 2
		e.Audio = &webm.Audio{SamplingFrequency: 8000, Channels: 1}
		e.CodecPrivate = waveFormat(t.Codec)
		if t.Codec == Opus {
			e.Audio = &webm.Audio{SamplingFrequency: 48000, Channels: uint64(t.Channels)}
			e.CodecPrivate = opusHead(t.Channels)
		}
		return e
	}
	e.Video = &webm.Video{PixelWidth: uint64(t.Width), PixelHeight: uint64(t.Height)}
	if t.Codec == H264 {
		e.CodecPrivate = avcConfig(key)
	}
	return e
}

// Write adds a frame. Frames of a track come in order, and no frame is older
// than the first. The data must not change until Close.
func (w *Writer) Write(f Frame) error {
	data := f.Data
	if w.tracks[f.Track].Codec == H264 {
		data = withSizes(data)
	}
	if err := w.sink.failure(); err != nil {
		return err
	}
	_, err := w.out[f.Track].Write(f.Key, f.At.Milliseconds(), data)
	return err
}

// Close writes length and index and closes the file. It returns the first
// error of all writing.
func (w *Writer) Close() error {
	for _, out := range w.out {
		_ = out.Close() // never fails; the last waits for the end of writing
	}
	return w.sink.failure()
}

// A sink keeps the first error of a file to itself: the library's writing
// goroutine would end with it, and whoever writes to that waits for ever.
type sink struct {
	File
	mu  sync.Mutex
	err error
}

func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

func (s *sink) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *sink) Write(b []byte) (int, error) {
	if s.failure() == nil {
		if _, err := s.File.Write(b); err != nil {
			s.fail(err)
		}
	}
	return len(b), nil
}

func (s *sink) WriteAt(b []byte, at int64) (int, error) {
	if s.failure() == nil {
		if _, err := s.File.WriteAt(b, at); err != nil {
			s.fail(err)
		}
	}
	return len(b), nil
}

func (s *sink) Close() error {
	if err := s.File.Close(); err != nil {
		s.fail(err)
	}
	return nil
}

// opusHead is the identification header of RFC 7845, 5.1, without pre-skip.
func opusHead(channels int) []byte {
	b := append([]byte("OpusHead"), 1, byte(channels), 0, 0)
	b = binary.LittleEndian.AppendUint32(b, 48000)
	return append(b, 0, 0, 0)
}

// Format tags of WAVEFORMATEX.
const (
	waveALaw = 6
	waveULaw = 7
)

// waveFormat is the WAVEFORMATEX of one channel of G.711.
func waveFormat(codec string) []byte {
	tag := uint16(waveULaw)
	if codec == PCMA {
		tag = waveALaw
	}
	le := binary.LittleEndian
	b := le.AppendUint16(le.AppendUint16(nil, tag), 1)
	b = le.AppendUint32(le.AppendUint32(b, 8000), 8000)
	return le.AppendUint16(le.AppendUint16(le.AppendUint16(b, 1), 8), 0)
}

// avcConfig makes the avcC box of the parameter sets in a key frame.
func avcConfig(key []byte) []byte {
	var sets [2][][]byte
	for _, u := range units(key) {
		if typ := u[0] & 0x1f; typ == 7 || typ == 8 {
			sets[typ-7] = append(sets[typ-7], u)
		}
	}
	if len(sets[0]) == 0 || len(sets[0][0]) < 4 {
		return nil
	}
	sps := sets[0][0]
	b := []byte{1, sps[1], sps[2], sps[3], 0xff}
	for i, mask := range []byte{0xe0, 0} {
		b = append(b, mask|byte(len(sets[i])))
		for _, u := range sets[i] {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(u))), u...)
		}
	}
	return b
}

// withSizes turns H264 with start codes into H264 with a size before each unit.
func withSizes(b []byte) []byte {
	var out []byte
	for _, u := range units(b) {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(u))), u...)
	}
	return out
}
