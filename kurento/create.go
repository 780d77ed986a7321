package kurento

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/goccy/go-json"
)

// CreateEndpoint creates an endpoint in the pipeline whose events of these types
// go to handler, as Client.Subscribe says, in one transaction: there is the
// endpoint with all of them, or nothing. It is joined with peer, as MediaElement.Join
// does, unless that is empty.
func (p MediaPipeline) CreateEndpoint(ctx context.Context, opts WebRtcEndpointOptions, peer ObjectID, handler func(Event), types ...EventType) (WebRtcEndpoint, error) {
	var join []Operation
	if peer != "" {
		join = []Operation{joining(newRef(0), peer), joining(peer, newRef(0))}
	}
	ids, err := p.client.createObserved(ctx, []request{webRtcEndpoint(p.id, opts)}, handler, types, join...)
	if err != nil {
		return WebRtcEndpoint{}, err
	}
	return p.client.WebRtcEndpoint(ids[0]), nil
}

// CreateCall creates a pipeline with an endpoint as MediaPipeline.CreateEndpoint
// does, all in one transaction.
func (c *Client) CreateCall(ctx context.Context, opts WebRtcEndpointOptions, handler func(Event), types ...EventType) (MediaPipeline, WebRtcEndpoint, error) {
	ids, err := c.createObserved(ctx, []request{{Type: "MediaPipeline"}, webRtcEndpoint(newRef(0), opts)}, handler, types)
	if err != nil {
		return MediaPipeline{}, WebRtcEndpoint{}, err
	}
	return c.MediaPipeline(ids[0]), c.WebRtcEndpoint(ids[1]), nil
}

// newRef stands for the object that operation n of a transaction creates.
func newRef(n int) ObjectID { return ObjectID("newref:" + strconv.Itoa(n)) }

func webRtcEndpoint(pipeline ObjectID, opts WebRtcEndpointOptions) request {
	return request{Type: "WebRtcEndpoint", ConstructorParams: struct {
		MediaPipeline ObjectID `json:"mediaPipeline"`
		WebRtcEndpointOptions
	}{pipeline, opts}}
}

// createObserved creates objects, the first of which holds the others, subscribes to
// the last, and does what else there is, in one transaction. What was created is released if not
// all of it could be done, also where the answer comes after ctx has ended.
func (c *Client) createObserved(ctx context.Context, creates []request, handler func(Event), types []EventType, more ...Operation) ([]ObjectID, error) {
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	s := &Subscription{client: c, handler: handler, types: types, ids: make([]string, len(types))}
	operations := make([]Operation, 0, len(creates)+len(types))
	for _, create := range creates {
		operations = append(operations, Operation{Method: methodCreate, Params: create})
	}
	operations = append(operations, s.operations(newRef(len(creates)-1))...)
	operations = append(operations, more...)
	losses := c.listeners.await()
	results, err := c.transact(ctx, operations, func(call *call) { c.releaseLate(call, firstCreated) })
	var ids []ObjectID
	if err == nil {
		ids, err = created(creates, results)
	}
	if err != nil {
		c.listeners.relent()
		return nil, c.undo(ctx, ids, err)
	}
	s.object = ids[len(ids)-1]
	if err = s.note(results[len(ids):min(len(results), len(ids)+len(types))]); err == nil {
		err = complete(results, operations)
	}
	if err != nil {
		c.listeners.relent()
		return nil, c.undo(ctx, ids, err)
	}
	if !c.listeners.claim(s, losses) {
		return nil, fmt.Errorf("kurento: create %s: the session was lost meanwhile", creates[0].Type)
	}
	return ids, nil
}

// created reads the ids of what was created, up to the first that was not.
func created(creates []request, results []OperationResult) (ids []ObjectID, err error) {
	for i, create := range creates {
		var id ObjectID
		err := errNoResult
		if i < len(results) {
			if err = results[i].Err; err == nil {
				err = json.Unmarshal(results[i].Value, &id)
			}
		}
		if err != nil {
			return ids, fmt.Errorf("kurento: %s %s: %w", methodCreate, create.Type, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// complete returns the error of the last result, or of one that is missing.
func complete(results []OperationResult, operations []Operation) error {
	last := len(results) - 1
	switch err := results[last].Err; {
	case err != nil:
		return fmt.Errorf("kurento: %s: %w", operations[last].Method, err)
	case len(results) < len(operations):
		return fmt.Errorf("kurento: %s: %w", operations[last+1].Method, errNoResult)
	}
	return nil
}

// errNoResult says that KMS has left out the result of an operation.
var errNoResult = errors.New("no result")

// undo releases what a transaction has created that failed, and returns why it did.
func (c *Client) undo(ctx context.Context, ids []ObjectID, cause error) error {
	if len(ids) == 0 {
		return cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.RequestTimeout)
	defer cancel()
	return errors.Join(cause, c.Release(ctx, ids[0]))
}

// releaseLate releases the object of a request whose caller has given up: nobody
// else will ever know its id. read finds it in the answer.
func (c *Client) releaseLate(call *call, read func(context.Context, *call) ObjectID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil { // Close does not wait for new ones
		return
	}
	c.late.Go(func() {
		id := read(c.ctx, call)
		if id == "" {
			return // refused, or lost with the connection
		}
		attrs := []slog.Attr{slog.Uint64("kms_request", call.seq), slog.String("object", string(id))}
		if err := c.Release(c.ctx, id); err != nil {
			attrs = append(attrs, slog.String("error", err.Error()))
		}
		c.cfg.Log.LogAttrs(c.ctx, slog.LevelWarn, "kms.late", attrs...)
	})
}

// oneCreated is the object that a create has created, if it has.
func oneCreated(ctx context.Context, call *call) (id ObjectID) {
	if call.receive(ctx, &reply{&id}) != nil {
		return ""
	}
	return id
}

// firstCreated is the object that the first operation of a transaction has created,
// if it has.
func firstCreated(ctx context.Context, call *call) (id ObjectID) {
	results, err := call.results(ctx)
	if err != nil || len(results) == 0 || results[0].Err != nil || json.Unmarshal(results[0].Value, &id) != nil {
		return ""
	}
	return id
}
