package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A record is its length and the CRC-32C of length and content, four bytes each in
// little-endian order, and its content.
const recordHead = 8

// maxRecord is the largest content of a record, in bytes: far above that of a message.
const maxRecord = 16 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged says that a record is not what was written.
var errDamaged = errors.New("a record is cut off or damaged")

// appendRecord appends a record with this content, which is not empty.
func appendRecord(b, content []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(content)))
	sum := crc32.Update(crc32.Checksum(b[at:], castagnoli), castagnoli, content)
	return append(binary.LittleEndian.AppendUint32(b, sum), content...)
}

// cutRecord is the content of the first record of b, and what is behind it. It is
// errDamaged if b does not begin with a whole record.
func cutRecord(b []byte) (content, rest []byte, err error) {
	if len(b) < recordHead {
		return nil, b, errDamaged
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > maxRecord || int(n) > len(b)-recordHead {
		return nil, b, errDamaged
	}
	content = b[recordHead : recordHead+int(n)]
	if crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, content) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, b, errDamaged
	}
	return content, b[recordHead+int(n):], nil
}

// recover reads the segments of the folder, and begins the first if there is none.
func (j *Journal) recover(take func(uint64, []byte) error) error {
	if err := noOlder(j.dir); err != nil {
		return err
	}
	bases, err := segmentsOf(j.dir)
	if err != nil {
		return err
	}
	if len(bases) == 0 {
		return j.next(0)
	}
	for i, base := range bases {
		if i > 0 && j.segments[i-1].end != base {
			return fmt.Errorf("%s does not go on where the file before it ends", segment{base: base}.name())
		}
		s, err := j.readSegment(base, i == len(bases)-1, take)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
		j.segments = append(j.segments, s)
	}
	return nil
}

// noOlder refuses a folder with a journal that an earlier version wrote.
func noOlder(dir string) error {
	const older = "journal.db"
	if _, err := os.Stat(filepath.Join(dir, older)); err == nil {
		return fmt.Errorf("%s is of an earlier version: have that one hand it on to the database, and remove it", older)
	}
	return nil
}

// segmentsOf are the positions at which the segments in a folder begin, in order.
func segmentsOf(dir string) (bases []uint64, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		hex, ok := strings.CutPrefix(f.Name(), "journal-")
		hex, log := strings.CutSuffix(hex, ".log")
		base, err := strconv.ParseUint(hex, 16, 64)
		if ok && log && err == nil && f.Name() == (segment{base: base}).name() {
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	return bases, nil
}

// readSegment hands over the records of a segment. The last is open afterwards, and
// what is behind its last whole record is removed.
func (j *Journal) readSegment(base uint64, last bool, take func(uint64, []byte) error) (s segment, err error) {
	s = segment{base, base}
	all, err := os.ReadFile(filepath.Join(j.dir, s.name()))
	if err != nil {
		return s, err
	}
	rest := all
	for len(rest) > 0 {
		content, behind, err := cutRecord(rest)
		if err != nil && !last {
			return s, fmt.Errorf("%w at byte %d", err, s.end-s.base)
		}
		if err != nil {
			break
		}
		if err := take(s.end, content); err != nil {
			return s, fmt.Errorf("the record at byte %d: %w", s.end-s.base, err)
		}
		s.end += uint64(len(rest) - len(behind))
		rest = behind
	}
	if !last {
		return s, nil
	}
	if j.file, err = os.OpenFile(filepath.Join(j.dir, s.name()), os.O_RDWR, 0o600); err != nil || len(rest) == 0 {
		return s, err
	}
	if err := j.file.Truncate(int64(s.end - s.base)); err != nil {
		return s, err
	}
	return s, j.file.Sync()
}

// reader reads the records of a journal from a position on, piece by piece.
type reader struct {
	journal *Journal
	next    uint64 // the position of the record that comes next
	buf     []byte
	records [][]byte
	at      []uint64 // where they are
}

// readBytes is how many bytes are read at a time.
const readBytes = 256 << 10

// read reads the records that come next and are safe, as many as fit into a piece, or
// one that does not. They and their positions may be used until it is called again.
// It does not go on: next stays until it is set to the position behind them.
func (r *reader) read() (records [][]byte, at []uint64, behind uint64, err error) {
	r.records, r.at = r.records[:0], r.at[:0]
	s := r.journal.holding(r.next)
	if s.end == r.next {
		return nil, nil, r.next, nil
	}
	f, err := os.Open(filepath.Join(r.journal.dir, s.name()))
	if err != nil {
		return nil, nil, r.next, err
	}
	defer func() { _ = f.Close() }() // it was only read
	size := min(readBytes, int(s.end-r.next))
	for {
		r.buf = slices.Grow(r.buf[:0], size)[:size]
		if _, err := f.ReadAt(r.buf, int64(r.next-s.base)); err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, r.next, err
		}
		if behind = r.cut(); behind > r.next {
			return r.records, r.at, behind, nil
		}
		if size == int(s.end-r.next) {
			return nil, nil, r.next, fmt.Errorf("%s: %w at byte %d", s.name(), errDamaged, r.next-s.base)
		}
		size = min(8*size, int(s.end-r.next))
	}
}

// cut finds the whole records of what was read, and returns the position behind them.
func (r *reader) cut() (behind uint64) {
	behind = r.next
	for rest := r.buf; ; {
		content, more, err := cutRecord(rest)
		if err != nil {
			return behind
		}
		r.records, r.at = append(r.records, content), append(r.at, behind)
		behind += uint64(len(rest) - len(more))
		rest = more
	}
}

// holding is the segment with the record at a position, or the last one if that is
// behind all records.
func (j *Journal) holding(at uint64) segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.segments {
		if at < s.end {
			return s
		}
	}
	return j.segments[len(j.segments)-1]
}
