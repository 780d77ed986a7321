package store

import (
	"context"
	"slices"
	"sync"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// MemoryInbox is a server.Inbox in memory. Its zero value is ready to use.
type MemoryInbox struct {
	mu      sync.Mutex
	last    uint64                     // number
	boxes   map[string][]server.Letter // by owner, in the order of their numbers
	senders map[string]*sent
}

// sent is what a sender sent last: a ring of message ids, the oldest at next.
type sent struct {
	ids  []string
	next int
	byID map[string]server.Letter // without content
}

// Put implements server.Inbox.
func (i *MemoryInbox) Put(_ context.Context, owner string, m signaling.Message) (server.Letter, bool, error) {
	return i.put(owner, m)
}

func (i *MemoryInbox) put(owner string, m signaling.Message) (l server.Letter, fresh bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	own := repeatable(owner, m)
	if own {
		if s := i.senders[m.From]; s != nil {
			if first, ok := s.byID[m.MessageID]; ok {
				return first, false, nil
			}
		}
	}
	if len(i.boxes[owner]) >= server.MaxUndelivered {
		return server.Letter{}, false, server.ErrInboxFull
	}
	l = server.Letter{Number: i.last + 1, Message: m}
	i.keep(owner, l)
	if own {
		i.remember(l)
	}
	return l, true, nil
}

// repeatable reports whether a sender may repeat a message. What became of a call is
// the server's word, and nobody repeats it.
func repeatable(owner string, m signaling.Message) bool { return owner == m.To && m.Call == nil }

// keep puts a letter into its owner's box; i.mu is held.
func (i *MemoryInbox) keep(owner string, l server.Letter) {
	if i.boxes == nil {
		i.boxes, i.senders = make(map[string][]server.Letter), make(map[string]*sent)
	}
	i.last = max(i.last, l.Number)
	i.boxes[owner] = append(i.boxes[owner], l)
}

// remember notes what was sent, and forgets the oldest of its sender if need be; i.mu
// is held.
func (i *MemoryInbox) remember(l server.Letter) {
	if i.senders == nil {
		i.boxes, i.senders = make(map[string][]server.Letter), make(map[string]*sent)
	}
	i.last = max(i.last, l.Number)
	s := i.senders[l.Message.From]
	if s == nil {
		s = &sent{byID: make(map[string]server.Letter)}
		i.senders[l.Message.From] = s
	}
	id := l.Message.MessageID
	l.Message.Content = ""
	s.byID[id] = l
	if len(s.ids) < server.MaxRepeats {
		s.ids = append(s.ids, id)
		return
	}
	delete(s.byID, s.ids[s.next])
	s.ids[s.next] = id
	s.next = (s.next + 1) % server.MaxRepeats
}

// remembers reports whether a repetition of the letter is recognised.
func (i *MemoryInbox) remembers(l server.Letter) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.senders[l.Message.From]
	return s != nil && s.byID[l.Message.MessageID].Number == l.Number
}

// holds reports whether the owner's letter with this number waits.
func (i *MemoryInbox) holds(owner string, number uint64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, found := slices.BinarySearchFunc(i.boxes[owner], number, byNumber)
	return found
}

// PutThen implements server.EagerInbox: memory is as safe as it will be at once.
func (i *MemoryInbox) PutThen(ctx context.Context, owner string, m signaling.Message, safe func(server.Letter, bool, error)) (server.Letter, bool, error) {
	l, fresh, err := i.Put(ctx, owner, m)
	if err == nil {
		safe(l, fresh, nil)
	}
	return l, fresh, err
}

// Undelivered implements server.Inbox.
func (i *MemoryInbox) Undelivered(_ context.Context, owner string, after uint64, limit int) ([]server.Letter, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	box := i.boxes[owner]
	n, _ := slices.BinarySearchFunc(box, after+1, byNumber)
	return slices.Clone(box[n:min(len(box), n+limit)]), nil
}

// Delivered implements server.Inbox.
func (i *MemoryInbox) Delivered(_ context.Context, owner string, numbers ...uint64) error {
	i.delivered(owner, numbers)
	return nil
}

// delivered is Delivered, and returns the numbers of those that were there.
func (i *MemoryInbox) delivered(owner string, numbers []uint64) (were []uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	box := i.boxes[owner]
	for _, number := range numbers {
		if n, found := slices.BinarySearchFunc(box, number, byNumber); found {
			box = slices.Delete(box, n, n+1)
			were = append(were, number)
		}
	}
	switch {
	case len(box) > 0 || cap(box) > 0 && cap(box) <= keepBox:
		i.boxes[owner] = box
	default:
		delete(i.boxes, owner)
	}
	return were
}

// withdraw takes back a letter that could not be kept: its repetition is none.
func (i *MemoryInbox) withdraw(owner string, l server.Letter) {
	i.delivered(owner, []uint64{l.Number})
	i.mu.Lock()
	defer i.mu.Unlock()
	if s := i.senders[l.Message.From]; s != nil && s.byID[l.Message.MessageID].Number == l.Number {
		delete(s.byID, l.Message.MessageID)
	}
}

// keepBox is how many letters' room an empty box keeps, so that a conversation
// does not make a new one for each message.
const keepBox = 32

func byNumber(l server.Letter, number uint64) int {
	switch {
	case l.Number < number:
		return -1
	case l.Number > number:
		return 1
	}
	return 0
}
