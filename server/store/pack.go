package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"

	"github.com/callbench/callbench/server"
)

// The first byte of a record says what it is. An entry is JSON, or a message: those are
// many, so they have a form that costs less to write and read, numbers as varints and
// texts behind their lengths. The others are for the journal itself.
const (
	packedLetter  = 1 // an entry
	packedMark    = 2 // up to where the database has everything, and the last letter's number
	packedKept    = 3 // an entry that is a letter and that the database has: it waits for its owner
	packedSent    = 4 // a message that was sent and that the database has: its repetition is recognised
	packedRefused = 5 // a record that the database did not take
)

// isEntry reports whether a record is for the database.
func isEntry(record []byte) bool { return record[0] < packedMark || record[0] > packedRefused }

// errPacked is what becomes of a value of the journal that is cut short.
var errPacked = errors.New("a packed message is cut short")

// encodeEntry is an entry as the journal has it.
func encodeEntry(e entry) ([]byte, error) {
	if l := e.Letter; l != nil && l.Message.Call == nil {
		return appendLetter(nil, *l), nil
	}
	return json.Marshal(e)
}

// decodeEntry is what encodeEntry made a value of.
func decodeEntry(value []byte) (e entry, err error) {
	if len(value) > 0 && value[0] == packedLetter {
		l, err := unpackLetter(value[1:])
		return entry{Letter: &l}, err
	}
	return e, json.Unmarshal(value, &e)
}

// appendLetter appends the record of a letter that is not about a call.
func appendLetter(b []byte, l ownedLetter) []byte {
	m := l.Message
	b = binary.AppendUvarint(append(b, packedLetter), l.Number)
	b = binary.AppendVarint(b, m.Timestamp)
	return packTexts(b, l.Owner, m.MessageID, m.From, m.To, m.Content)
}

func unpackLetter(b []byte) (l ownedLetter, err error) {
	u := unpacker{rest: b}
	l.Number = u.number()
	l.Message.Timestamp = u.signed()
	for _, text := range []*string{&l.Owner, &l.Message.MessageID, &l.Message.From, &l.Message.To, &l.Message.Content} {
		*text = u.text()
	}
	return l, u.err
}

// packMark notes that the database has everything before a position, and the number of
// the last letter.
func packMark(position, last uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint([]byte{packedMark}, position), last)
}

func unpackMark(record []byte) (position, last uint64, err error) {
	u := unpacker{rest: record[1:]}
	position, last = u.number(), u.number()
	return position, last, u.err
}

// packKept is a letter that waits and that the database has.
func packKept(l ownedLetter) ([]byte, error) {
	value, err := encodeEntry(entry{Letter: &l})
	return append([]byte{packedKept}, value...), err
}

func packRefused(record []byte) []byte { return append([]byte{packedRefused}, record...) }

// packSent is what is remembered of a message so that its repetition is recognised.
func packSent(l server.Letter) []byte {
	m := l.Message
	b := make([]byte, 0, 24+len(m.MessageID)+len(m.From)+len(m.To))
	b = binary.AppendUvarint(append(b, packedSent), l.Number)
	return packTexts(binary.AppendVarint(b, m.Timestamp), m.MessageID, m.From, m.To)
}

func unpackSent(record []byte) (l server.Letter, err error) {
	u := unpacker{rest: record[1:]}
	l.Number = u.number()
	l.Message.Timestamp = u.signed()
	for _, text := range []*string{&l.Message.MessageID, &l.Message.From, &l.Message.To} {
		*text = u.text()
	}
	return l, u.err
}

func packTexts(b []byte, texts ...string) []byte {
	for _, t := range texts {
		b = append(binary.AppendUvarint(b, uint64(len(t))), t...)
	}
	return b
}

// unpacker reads what was packed. After an error it reads nothing.
type unpacker struct {
	rest []byte
	err  error
}

func (u *unpacker) number() uint64 {
	n, size := binary.Uvarint(u.rest)
	u.skip(size)
	return n
}

func (u *unpacker) signed() int64 {
	n, size := binary.Varint(u.rest)
	u.skip(size)
	return n
}

func (u *unpacker) text() string {
	n := u.number()
	if n > uint64(len(u.rest)) {
		u.skip(0)
		return ""
	}
	t := string(u.rest[:n])
	u.rest = u.rest[n:]
	return t
}

// skip goes on behind a number of this size, which is not positive if there is none.
func (u *unpacker) skip(size int) {
	if size <= 0 {
		u.rest, u.err = nil, errPacked
		return
	}
	u.rest = u.rest[size:]
}
