package kurento

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/goccy/go-json"
	"github.com/sourcegraph/jsonrpc2"
)

// call is a request that was sent.
type call struct {
	link   *link
	waiter jsonrpc2.Waiter
	id     jsonrpc2.ID
	seq    uint64
	method string
	params any
	began  time.Time
	result json.RawMessage // written before the waiter is let go
}

// start sends a request. ctx has a deadline.
func (l *link) start(ctx context.Context, method string, params any) (*call, error) {
	c := &call{link: l, method: method, params: params, began: time.Now()}
	encoded, err := encodeParams(params)
	if err != nil {
		return nil, c.describe(err)
	}
	if err := l.admit(ctx); err != nil {
		return nil, c.describe(err)
	}
	defer func() { <-l.sending }()
	c.seq, c.id = l.ids.next()
	deadline, _ := ctx.Deadline()
	l.expect(c, deadline)
	c.logRequest(ctx)
	l.stream.params = encoded
	if c.waiter, err = l.rpc.DispatchCall(ctx, method, nil, jsonrpc2.PickID(c.id)); err == nil {
		return c, nil
	}
	l.settle(c.id)
	select {
	case <-l.lost: // only then the cause is final
	case <-ctx.Done():
	}
	err = &ConnectionError{Sent: l.stream.announced(c.id), Err: l.err()}
	c.logResponse(ctx, err)
	return nil, c.describe(err)
}

func encodeParams(params any) ([]byte, error) {
	if params == nil {
		return nil, nil
	}
	return json.MarshalWithOption(params, json.DisableHTMLEscape())
}

// admit waits for the right to send.
func (l *link) admit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-l.lost:
		return &ConnectionError{Err: l.err()}
	case <-ctx.Done():
		return ctx.Err()
	case l.sending <- struct{}{}:
		return nil
	}
}

// wait waits for the response and decodes its result.
func (c *call) wait(ctx context.Context, result any) error {
	err := c.receive(ctx, result)
	var refused *jsonrpc2.Error
	switch {
	case errors.As(err, &refused):
		err = fromWire(refused)
	case errors.Is(err, jsonrpc2.ErrClosed):
		err = &ConnectionError{Sent: true, Err: c.link.err()}
	case err != nil && err == ctx.Err():
		c.link.abandon(c.id)
	}
	c.logResponse(ctx, err)
	return c.describe(err)
}

// receive waits for the response, decodes its result unless result is nil, and
// returns jsonrpc2's errors.
func (c *call) receive(ctx context.Context, result any) error {
	var spared json.RawMessage // what the stream has not laid aside
	if err := c.waiter.Wait(ctx, &spared); err != nil || result == nil {
		return err
	}
	if c.result != nil {
		spared = c.result
	}
	return json.Unmarshal(spared, result)
}

// describe says what was being done.
func (c *call) describe(err error) error {
	if err == nil {
		return nil
	}
	what := c.method
	if r, ok := c.params.(request); ok {
		what += words(r.purpose, r.Operation, r.Type)
		if r.Object != "" {
			what += " on " + string(r.Object)
		}
	}
	return fmt.Errorf("kurento: %s: %w", what, err)
}

// words returns the words that are not empty, each after a space.
func words(all ...string) (s string) {
	for _, w := range all {
		if w != "" {
			s += " " + w
		}
	}
	return s
}

// logRequest logs neither parameters nor results: they hold SDP and TURN
// credentials.
func (c *call) logRequest(ctx context.Context) {
	log := c.link.cfg.Log
	if log.Enabled(ctx, slog.LevelDebug) {
		log.LogAttrs(ctx, slog.LevelDebug, "kms.request", c.attrs()...)
	}
}

func (c *call) logResponse(ctx context.Context, err error) {
	c.observe(err)
	log := c.link.cfg.Log
	if !log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := append(c.attrs(), slog.Float64("took_ms", float64(time.Since(c.began))/float64(time.Millisecond)))
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	var refused *Error
	if errors.As(err, &refused) {
		attrs = append(attrs, slog.Int("code", int(refused.Code)))
	}
	log.LogAttrs(ctx, slog.LevelDebug, "kms.response", attrs...)
}

func (c *call) observe(err error) {
	if c.link.cfg.Observe == nil {
		return
	}
	name := c.method
	if r, ok := c.params.(request); ok && r.Operation+r.purpose != "" {
		name = r.Operation + r.purpose // it has one of them
	}
	c.link.cfg.Observe(name, time.Since(c.began), err)
}

func (c *call) attrs() []slog.Attr {
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs, slog.Uint64("kms_request", c.seq), slog.String("method", c.method))
	r, ok := c.params.(request)
	if !ok {
		return attrs
	}
	for _, a := range [...]struct{ key, value string }{
		{"object", string(r.Object)}, {"operation", r.Operation}, {"type", r.Type},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, a.value))
		}
	}
	return attrs
}

// Call makes a JSON-RPC call of any method, with the parameters as KMS takes
// them (nil for none), and decodes the result, unless result is nil. It waits
// for a connection if there is none. The error is an *Error for what KMS
// refused, a *ConnectionError, the error of ctx, or that of encoding or
// decoding, wrapped.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	call, err := c.start(ctx, method, params)
	if err != nil {
		return err
	}
	return call.wait(ctx, result)
}

// withDeadline gives ctx the default deadline if it has none.
func (c *Client) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.cfg.RequestTimeout)
}

// start sends a request as soon as there is a connection. ctx has a deadline.
func (c *Client) start(ctx context.Context, method string, params any) (*call, error) {
	for {
		l, err := c.connected(ctx)
		if err != nil {
			return nil, fmt.Errorf("kurento: %s: %w", method, err)
		}
		call, err := l.start(ctx, method, params)
		var unsent *ConnectionError
		if !errors.As(err, &unsent) || unsent.Sent {
			return call, err
		}
		// The link was lost just before: wait for the next one.
	}
}

// Create creates an object of a class of KMS, "WebRtcEndpoint", with the
// parameters of its constructor. If ctx ends before KMS has answered, the object
// that a late answer names is released; Close and the loss of the connection put
// an end to the wait for it.
func (c *Client) Create(ctx context.Context, class string, params any) (ObjectID, error) {
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	call, err := c.start(ctx, methodCreate, request{Type: class, ConstructorParams: params})
	if err != nil {
		return "", err
	}
	var id ObjectID
	err = call.wait(ctx, &reply{&id})
	if err != nil && ctx.Err() != nil {
		c.releaseLate(call, oneCreated)
	}
	return id, err
}

// Invoke calls an operation of an object. params is a map or struct of the
// operation's parameters, nil for none; result a pointer to what is returned,
// nil to ignore it. Properties are read and written with getXxx and setXxx.
func (c *Client) Invoke(ctx context.Context, object ObjectID, operation string, params, result any) error {
	r := request{Object: object, Operation: operation, OperationParams: params}
	if result == nil {
		return c.Call(ctx, methodInvoke, r, nil)
	}
	return c.Call(ctx, methodInvoke, r, &reply{result})
}

// Release destroys an object and its children in all sessions, and ends their
// subscriptions here before it returns, whatever the outcome. KMS does not
// object to an unknown id.
func (c *Client) Release(ctx context.Context, object ObjectID) error {
	c.listeners.forget(object)
	return c.Call(ctx, methodRelease, request{Object: object}, nil)
}

// ReleaseAll is Release of several objects in their order, in one transaction.
func (c *Client) ReleaseAll(ctx context.Context, objects ...ObjectID) error {
	operations := make([]Operation, len(objects))
	for i, object := range objects {
		c.listeners.forget(object)
		operations[i] = Operation{Method: methodRelease, Params: request{Object: object}}
	}
	results, err := c.transact(ctx, "releaseAll", operations, func(*call) {})
	for i, r := range results {
		if r.Err != nil {
			err = fmt.Errorf("kurento: %s %s: %w", methodRelease, objects[i], r.Err)
		}
	}
	return err
}

// Ref makes the session hold the object, as does everything else that names
// it.
func (c *Client) Ref(ctx context.Context, object ObjectID) error {
	return c.Call(ctx, methodRef, request{Object: object}, nil)
}

// Unref gives up the session's hold on the object, which dies when no session
// holds it.
func (c *Client) Unref(ctx context.Context, object ObjectID) error {
	return c.Call(ctx, methodUnref, request{Object: object}, nil)
}

// Description is the class of an object.
type Description struct {
	Type          string   `json:"type"`
	QualifiedType string   `json:"qualifiedType"`
	Hierarchy     []string `json:"hierarchy"` // its ancestors, the nearest first
}

// Describe returns the class of an object.
func (c *Client) Describe(ctx context.Context, object ObjectID) (Description, error) {
	var d Description
	err := c.Call(ctx, methodDescribe, request{Object: object}, &d)
	return d, err
}

// Ping asks KMS for a sign of life.
func (c *Client) Ping(ctx context.Context) error { return c.Call(ctx, methodPing, nil, nil) }

// KeepAlive tells KMS that the session is in use. An open connection does so
// by itself. It fails with CodeInvalidSession until the session has touched an
// object.
func (c *Client) KeepAlive(ctx context.Context) error {
	return c.Call(ctx, methodKeepAlive, request{SessionID: c.Session()}, nil)
}

// CloseSession ends the session: its objects die unless another session holds
// them; with release they die anyway. Without it they live on after Close, for
// four to eight minutes with the default configuration of KMS, and the session
// can be taken over.
func (c *Client) CloseSession(ctx context.Context, release bool) error {
	return c.Call(ctx, methodCloseSession, request{SessionID: c.Session(), Release: release}, nil)
}

// Operation is one request of a transaction.
type Operation struct {
	Method string // "create", "invoke", …
	// Params are the parameters of the method, as in Client.Call. A string
	// "newref:N" anywhere in them stands for the value of operation N.
	Params any
}

// OperationResult is the outcome of one operation of a transaction.
type OperationResult struct {
	Value json.RawMessage // what the operation returned
	Err   error           // an *Error if KMS refused it
}

// Transaction sends operations as one request. KMS stops after the first that
// fails, whose result is the last one returned, and undoes nothing.
func (c *Client) Transaction(ctx context.Context, operations ...Operation) ([]OperationResult, error) {
	return c.transact(ctx, "", operations, func(*call) {})
}

// transact is Transaction for a purpose; late is told if ctx has ended before the answer came.
func (c *Client) transact(ctx context.Context, purpose string, operations []Operation, late func(*call)) ([]OperationResult, error) {
	type member struct {
		ID      int    `json:"id"` // must be the position
		JSONRPC string `json:"jsonrpc"`
		Method  string `json:"method"`
		Params  any    `json:"params,omitempty"`
	}
	members := make([]member, len(operations))
	for i, o := range operations {
		members[i] = member{i, "2.0", o.Method, o.Params}
	}
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	call, err := c.start(ctx, methodTransaction, request{Operations: members, purpose: purpose})
	if err != nil {
		return nil, err
	}
	var answers []answer
	err = call.wait(ctx, &reply{&answers})
	if err != nil && ctx.Err() != nil {
		late(call)
	}
	return outcomes(answers), err
}

// answer is what KMS says of one operation of a transaction.
type answer struct {
	Result struct {
		Value json.RawMessage `json:"value"`
	} `json:"result"`
	Error *jsonrpc2.Error `json:"error"`
}

// results waits for a transaction as receive does.
func (c *call) results(ctx context.Context) ([]OperationResult, error) {
	var answers []answer
	err := c.receive(ctx, &reply{&answers})
	return outcomes(answers), err
}

func outcomes(answers []answer) []OperationResult {
	results := make([]OperationResult, len(answers))
	for i, a := range answers {
		results[i].Value = a.Result.Value
		if a.Error != nil {
			results[i].Err = fromWire(a.Error)
		}
	}
	return results
}
