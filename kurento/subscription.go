package kurento

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/goccy/go-json"

	"github.com/callbench/callbench/internal/serial"
)

// Subscription hands the events of one object to one handler until it is
// closed, the object is released, or the session is lost.
type Subscription struct {
	client  *Client
	object  ObjectID
	handler func(Event)
	types   []EventType
	ids     []string    // KMS's id for each of types, "" if it has none
	off     atomic.Bool // no event is handed out any more
}

// Subscribe hands the events of these types of the object to handler. Events
// of one object are handed out one at a time in the order in which they
// arrived, to all its handlers in the order of subscription; those of
// different objects at the same time. KMS itself keeps no strict order: an
// event may arrive before the response of the call that caused it, or before
// one that happened earlier.
//
// The handler may make calls on the client, except Close. Events queue up
// without limit while it runs.
//
// Several types are one transaction. If KMS refuses one, none is subscribed.
func (c *Client) Subscribe(ctx context.Context, object ObjectID, handler func(Event), types ...EventType) (*Subscription, error) {
	s := &Subscription{client: c, object: object, handler: handler, types: slices.Clone(types)}
	// Before the request, because the first event may overtake the response.
	c.listeners.add(s)
	if err := s.request(ctx); err != nil {
		c.listeners.remove(s)
		return nil, err
	}
	if s.off.Load() {
		return nil, fmt.Errorf("kurento: subscribe on %s: the object was released or the session lost meanwhile", object)
	}
	return s, nil
}

// request asks for all types in one request: KMS works on requests one after the
// other, and each costs both sides a message either way.
func (s *Subscription) request(ctx context.Context) error {
	ctx, cancel := s.client.withDeadline(ctx)
	defer cancel()
	s.ids = make([]string, len(s.types))
	if len(s.types) == 1 {
		return s.client.Call(ctx, methodSubscribe, request{Object: s.object, Type: string(s.types[0])}, &reply{Value: &s.ids[0]})
	}
	results, err := s.client.Transaction(ctx, s.operations(s.object)...)
	if err == nil {
		err = s.note(results)
	}
	if err != nil {
		// What fails here was lost with the connection or dies with the
		// object; its events find no handler.
		_ = s.revoke(ctx)
	}
	return err
}

// operations ask for each of the types of an object.
func (s *Subscription) operations(object ObjectID) []Operation {
	operations := make([]Operation, len(s.types))
	for i, t := range s.types {
		operations[i] = Operation{Method: methodSubscribe, Params: request{Object: object, Type: string(t)}}
	}
	return operations
}

// note keeps the ids that the operations returned.
func (s *Subscription) note(results []OperationResult) error {
	for i, r := range results {
		if r.Err == nil {
			r.Err = json.Unmarshal(r.Value, &s.ids[i])
		}
		if r.Err != nil {
			return fmt.Errorf("kurento: %s %s on %s: %w", methodSubscribe, s.types[i], s.object, r.Err)
		}
	}
	return nil
}

// Close ends the subscription. No event is handed out after it returned, but
// a handler that runs at that time is not waited for, so that a handler may
// call it. Closing twice, and closing what ended by itself, has no effect.
func (s *Subscription) Close(ctx context.Context) error {
	if !s.client.listeners.remove(s) {
		return nil
	}
	ctx, cancel := s.client.withDeadline(ctx)
	defer cancel()
	return s.revoke(ctx)
}

func (s *Subscription) revoke(ctx context.Context) error {
	var errs []error
	for _, id := range s.ids {
		if id == "" {
			continue
		}
		errs = append(errs, s.client.Call(ctx, methodUnsubscribe, request{Object: s.object, Subscription: id}, nil))
	}
	return errors.Join(errs...)
}

// wants reports whether the subscription is for events of type t.
func (s *Subscription) wants(t EventType) bool { return slices.Contains(s.types, t) }

// listeners are the subscriptions of a client. Its zero value is ready.
type listeners struct {
	mu sync.Mutex
	// byRoot holds the listeners of each outermost object with those of all
	// its descendants, so that releasing a pipeline finds its own only.
	byRoot  map[ObjectID]map[ObjectID]*listener
	running sync.WaitGroup // events queued or being handled

	// What is subscribed to in the transaction that creates it may be heard of
	// before its id is known: early has the events of objects that nobody knows
	// while any are awaited.
	awaited int
	early   []Event
	losses  int // how often all subscriptions were lost
}

// maxEarly is how many events of unknown objects are kept.
const maxEarly = 1024

// listener is the ordered queue of one object and its subscriptions.
type listener struct {
	queue serial.Queue
	subs  []*Subscription // replaced, never changed
}

// await is told that an object is about to be created and subscribed to. It
// returns what claim or relent, one of which has to follow, is given.
func (ls *listeners) await() (losses int) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.awaited++
	return ls.losses
}

// relent is the end of waiting.
func (ls *listeners) relent() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.doneWaiting()
}

// doneWaiting forgets what nobody waits for. ls.mu is held.
func (ls *listeners) doneWaiting() {
	ls.awaited--
	if ls.awaited == 0 {
		ls.early = nil
	}
}

// claim adds the subscription of an object that was awaited, with what came of it
// early, and returns false if all subscriptions were lost meanwhile.
func (ls *listeners) claim(s *Subscription, losses int) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	defer ls.doneWaiting()
	if ls.losses != losses {
		return false
	}
	ls.insert(s)
	for _, ev := range ls.early {
		if ev.Object == s.object {
			ls.deliver(ev)
		}
	}
	return true
}

func (ls *listeners) add(s *Subscription) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.insert(s)
}

// insert is add with ls.mu held.
func (ls *listeners) insert(s *Subscription) {
	root := s.object.root()
	objects := ls.byRoot[root]
	if objects == nil {
		if ls.byRoot == nil {
			ls.byRoot = make(map[ObjectID]map[ObjectID]*listener)
		}
		objects = make(map[ObjectID]*listener)
		ls.byRoot[root] = objects
	}
	l := objects[s.object]
	if l == nil {
		l = &listener{queue: serial.Queue{Pool: &s.client.pool}}
		objects[s.object] = l
	}
	l.subs = append(slices.Clip(l.subs), s)
}

// remove takes s out and reports whether it was in.
func (ls *listeners) remove(s *Subscription) bool {
	if s.off.Swap(true) {
		return false
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	root := s.object.root()
	objects := ls.byRoot[root]
	l := objects[s.object]
	if l == nil {
		return false
	}
	l.subs = slices.DeleteFunc(slices.Clone(l.subs), func(o *Subscription) bool { return o == s })
	if len(l.subs) == 0 {
		delete(objects, s.object)
	}
	if len(objects) == 0 {
		delete(ls.byRoot, root)
	}
	return true
}

// forget takes out the subscriptions of object and its descendants.
func (ls *listeners) forget(object ObjectID) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	root := object.root()
	objects := ls.byRoot[root]
	for id, l := range objects {
		if id.within(object) {
			l.end()
			delete(objects, id)
		}
	}
	if len(objects) == 0 {
		delete(ls.byRoot, root)
	}
}

// forgetAll takes out all subscriptions.
func (ls *listeners) forgetAll() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, objects := range ls.byRoot {
		for _, l := range objects {
			l.end()
		}
	}
	clear(ls.byRoot)
	ls.losses++
}

func (l *listener) end() {
	for _, s := range l.subs {
		s.off.Store(true)
	}
}

// dispatch queues ev for its subscribers, in the order of the calls of
// dispatch, and reports whether there is one. It never blocks.
func (ls *listeners) dispatch(ev Event) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.awaited > 0 && len(ls.early) < maxEarly && ls.byRoot[ev.Object.root()][ev.Object] == nil {
		ls.early = append(ls.early, ev)
	}
	return ls.deliver(ev)
}

// deliver is dispatch with ls.mu held.
func (ls *listeners) deliver(ev Event) bool {
	l := ls.byRoot[ev.Object.root()][ev.Object]
	if l == nil || !slices.ContainsFunc(l.subs, func(s *Subscription) bool { return s.wants(ev.Type) }) {
		return false
	}
	subs := l.subs
	ls.running.Add(1)
	l.queue.Do(func() {
		defer ls.running.Done()
		for _, s := range subs {
			if s.wants(ev.Type) && !s.off.Load() {
				s.handler(ev)
			}
		}
	})
	return true
}
