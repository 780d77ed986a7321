package kmsmock

import (
	"strconv"
	"strings"
)

// An rpcMethod answers one JSON-RPC method: it fills result, or fails. An
// empty result is sent as null.
type rpcMethod func(s *Server, params value, result object, pace *pacing) error

// methods are the methods of the protocol. Filled by init because transaction
// refers back to them.
var methods map[string]rpcMethod

func init() {
	methods = map[string]rpcMethod{
		"connect": (*Server).rpcConnect, "create": (*Server).rpcCreate, "invoke": (*Server).rpcInvoke,
		"subscribe": (*Server).rpcSubscribe, "unsubscribe": (*Server).rpcUnsubscribe,
		"release": (*Server).rpcRelease, "ref": (*Server).rpcRef, "unref": (*Server).rpcUnref,
		"keepAlive": (*Server).rpcKeepAlive, "describe": (*Server).rpcDescribe,
		"transaction": (*Server).rpcTransaction, "ping": (*Server).rpcPing, "closeSession": (*Server).rpcCloseSession,
	}
}

// member looks a parameter up. params that are no object fail like jsoncpp.
func member(params value, name string) (value, bool, error) {
	switch p := params.(type) {
	case nil:
		return nil, false, nil
	case object:
		v, ok := p[name]
		return v, ok, nil
	}
	return nil, false, errUnexpected("in Json::Value::find(begin, end): requires objectValue or nullValue")
}

// text is a required string parameter.
func text(params value, name string) (string, error) {
	v, ok, err := member(params, name)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", errParams("'%s' parameter is required", name)
	}
	s, ok := toString(v)
	if !ok {
		return "", errParams("'%s' parameter should be a string", name)
	}
	return s.(string), nil
}

// texts reads several required string parameters; the first that fails speaks.
func texts(params value, names ...string) ([]string, error) {
	if params == nil {
		return nil, errMissingParams()
	}
	out := make([]string, len(names))
	for i, name := range names {
		s, err := text(params, name)
		if err != nil {
			return nil, err
		}
		out[i] = s
	}
	return out, nil
}

// sessionOf is the session that a request names, or a new one.
func (s *Server) sessionOf(params value) (string, error) {
	if _, _, err := member(params, "sessionId"); err != nil {
		return "", err
	}
	if id, err := text(params, "sessionId"); err == nil {
		return id, nil
	}
	return s.uuid(), nil
}

func (s *Server) rpcConnect(params value, result object, _ *pacing) error {
	id := s.uuid()
	if params != nil {
		if _, _, err := member(params, "sessionId"); err != nil {
			return err
		}
		if named, err := text(params, "sessionId"); err == nil {
			if err := s.keepAlive(named); err != nil {
				return err
			}
			id = named
		}
	}
	result["sessionId"], result["serverId"] = id, s.serverID
	return nil
}

func (s *Server) rpcCreate(params value, result object, pace *pacing) error {
	names, err := texts(params, "type")
	if err != nil {
		return err
	}
	ses, err := s.sessionOf(params)
	if err != nil {
		return err
	}
	c := s.model.factory(names[0])
	if c == nil {
		return failf(40108, "MEDIA_OBJECT_NOT_AVAILABLE", "Factory '%s' not found", names[0])
	}
	if err := s.checkResources(); err != nil {
		return err
	}
	given, _, _ := member(params, "constructorParams")
	args, err := s.arguments(c.ctor, given, "constructorParams")
	if err != nil {
		return err
	}
	if strange(args) {
		return errUnexpected("bad_weak_ptr")
	}
	s.wait(s.pace.create(s, c))
	o, err := s.create(c, ses, args)
	if err != nil {
		return err
	}
	result["value"], result["sessionId"] = o.id, ses
	return nil
}

func (s *Server) rpcInvoke(params value, result object, pace *pacing) error {
	names, err := texts(params, "operation", "object")
	if err != nil {
		return err
	}
	given, _, _ := member(params, "operationParams")
	if _, ok := given.(object); !ok {
		given = nil
	}
	ses, err := s.sessionOf(params)
	if err != nil {
		return err
	}
	o, err := s.touch(ses, names[1])
	if err != nil {
		return err
	}
	v, err := s.invoke(o, names[0], given, pace)
	if err != nil {
		return err
	}
	result["value"], result["sessionId"] = v, ses
	return nil
}

func (s *Server) invoke(o *mediaObject, name string, given value, pace *pacing) (value, error) {
	op, ok := o.class.method(name)
	if !ok {
		n := 0
		if in, ok := given.(object); ok {
			n = len(in)
		}
		return nil, errTransaction("Method '%s' with %d parameters not found", name, n)
	}
	args, _ := given.(object)
	raw := args
	if !op.raw {
		var err error
		if args, err = s.arguments(op.params, given, "operationParams"); err != nil {
			return nil, err
		}
	}
	c := &call{srv: s, obj: o, args: args, given: raw, pace: pace}
	if op.stranger != nil && strange(args) {
		return op.stranger(c)
	}
	return op.run(c)
}

func (s *Server) rpcSubscribe(params value, result object, _ *pacing) error {
	names, err := texts(params, "type", "object")
	if err != nil {
		return err
	}
	ses, err := s.sessionOf(params)
	if err != nil {
		return err
	}
	o, err := s.touch(ses, names[1])
	if err != nil {
		return err
	}
	if !o.class.hasEvent(names[0]) {
		return failf(40106, "MEDIA_OBJECT_EVENT_NOT_SUPPORTED", "Event '%s' not supported", names[0])
	}
	sub := &subscription{id: s.uuid(), session: ses, eventType: names[0]}
	o.subscribe(sub)
	bySession := s.sessions[ses].subs
	if bySession[o.id] == nil {
		bySession[o.id] = map[string]*subscription{}
	}
	bySession[o.id][sub.id] = sub
	result["value"], result["sessionId"] = sub.id, ses
	return nil
}

func (s *Server) rpcUnsubscribe(params value, result object, _ *pacing) error {
	names, err := texts(params, "object", "subscription", "sessionId")
	if err != nil {
		return err
	}
	if ses := s.sessions[names[2]]; ses != nil {
		if sub := ses.subs[names[0]][names[1]]; sub != nil {
			delete(ses.subs[names[0]], sub.id)
			if o := s.objects[names[0]]; o != nil {
				o.unsubscribe(sub)
			}
		}
	}
	result["sessionId"] = names[2]
	return nil
}

func (s *Server) rpcRelease(params value, result object, _ *pacing) error {
	names, err := texts(params, "object")
	if err != nil {
		return err
	}
	ses, err := s.sessionOf(params)
	if err != nil {
		return err
	}
	if o, err := s.find(names[0]); err == nil {
		s.release(o)
	}
	result["sessionId"] = ses
	return nil
}

func (s *Server) rpcRef(params value, result object, _ *pacing) error {
	names, err := texts(params, "object", "sessionId")
	if err != nil {
		return err
	}
	if _, err := s.touch(names[1], names[0]); err != nil {
		return err
	}
	result["sessionId"] = names[1]
	return nil
}

func (s *Server) rpcUnref(params value, result object, _ *pacing) error {
	names, err := texts(params, "object", "sessionId")
	if err != nil {
		return err
	}
	if o, err := s.find(names[0]); err == nil {
		s.drop(names[1], o)
	}
	result["sessionId"] = names[1]
	return nil
}

func (s *Server) rpcKeepAlive(params value, result object, _ *pacing) error {
	names, err := texts(params, "sessionId")
	if err != nil {
		return err
	}
	result["sessionId"] = names[0]
	return s.keepAlive(names[0])
}

func (s *Server) rpcDescribe(params value, result object, _ *pacing) error {
	names, err := texts(params, "object")
	if err != nil {
		return err
	}
	ses, err := s.sessionOf(params)
	if err != nil {
		return err
	}
	o, err := s.touch(ses, names[0])
	if err != nil {
		return err
	}
	result["sessionId"] = ses
	result["type"], result["qualifiedType"] = o.class.name, o.class.qualified()
	result["hierarchy"] = o.class.hierarchy()
	return nil
}

func (s *Server) rpcPing(params value, result object, _ *pacing) error {
	if _, _, err := member(params, "sessionId"); err != nil {
		return err
	}
	if id, err := text(params, "sessionId"); err == nil {
		result["sessionId"] = id
	}
	result["value"] = "pong"
	return nil
}

func (s *Server) rpcCloseSession(params value, _ object, _ *pacing) error {
	if params == nil {
		return errMissingParams()
	}
	given, _, err := member(params, "release")
	if err != nil {
		return err
	}
	release, _ := toBool(given)
	id, err := text(params, "sessionId")
	if err != nil {
		return err
	}
	s.closeSession(id, release == true)
	return nil
}

func (s *Server) rpcTransaction(params value, result object, pace *pacing) error {
	if params == nil {
		return errMissingParams()
	}
	ses, err := s.sessionOf(params)
	if err != nil {
		return err
	}
	given, ok, _ := member(params, "operations")
	if !ok {
		return errParams("'operations' parameter is required")
	}
	operations, ok := given.(array)
	if !ok {
		return errParams("'operations' parameter should be an array")
	}
	responses, err := s.runAll(operations, ses, pace)
	if err != nil {
		return err
	}
	result["value"], result["sessionId"] = responses, ses
	return nil
}

// runAll executes the operations of a transaction until one fails; nothing is
// rolled back.
func (s *Server) runAll(operations array, ses string, pace *pacing) (array, error) {
	responses := array{}
	unique := s.uuid()
	for i, item := range operations {
		op, ok := asObject(item)
		if !ok {
			return nil, errUnexpected("in Json::Value::resolveReference(key, end): requires objectValue")
		}
		params, ok := asObject(op["params"])
		if !ok {
			return nil, errUnexpected("in Json::Value::resolveReference(key, end): requires objectValue")
		}
		params["sessionId"] = ses
		if id, ok := toInt(op["id"], 0, 1<<32-1); !ok || id != int64(i) {
			return nil, errTransaction("Id of request '%d' should be '%d'", i, i)
		}
		resolved, err := resolveRefs(params, responses)
		if err != nil {
			return nil, err
		}
		op["params"], op["id"] = resolved, unique+"_"+strconv.Itoa(i)
		resp, ok := s.handle(op, pace)
		answer, _ := resp.(object)
		responses = append(responses, withID(answer, int64(i)))
		if !ok {
			break
		}
	}
	return responses, nil
}

// withID copies a response, because the cache may hold the original.
func withID(resp object, id int64) object {
	out := object{}
	for k, v := range resp {
		out[k] = v
	}
	out["id"] = id
	return out
}

// resolveRefs replaces "newref:N", at any depth, by the value of response N.
func resolveRefs(v value, responses array) (value, error) {
	var err error
	switch v := v.(type) {
	case object:
		for key, item := range v {
			if v[key], err = resolveRefs(item, responses); err != nil {
				return nil, err
			}
		}
	case array:
		for i, item := range v {
			if v[i], err = resolveRefs(item, responses); err != nil {
				return nil, err
			}
		}
	case string:
		if ref, ok := strings.CutPrefix(v, newRef); ok && ref != "" {
			return resultOf(ref, responses)
		}
	}
	return v, nil
}

func resultOf(ref string, responses array) (value, error) {
	digits := leadingInteger(ref)
	if digits == "" {
		return nil, errTransaction("Invalid index of newref '%s'", ref)
	}
	n, err := strconv.ParseInt(digits, 10, 32)
	switch {
	case err != nil:
		return nil, errUnexpected("stoi")
	case n < 0:
		return nil, errUnexpected("in Json::Value::operator[](int index): index cannot be negative")
	case int(n) < len(responses):
		resp, _ := responses[n].(object)
		if result, ok := resp["result"].(object); ok {
			return result["value"], nil
		}
	}
	return nil, errTransaction("Result not found on request %d", n)
}

// leadingInteger is the part of text that C's strtol reads, "" for none:
// blanks, a sign, digits.
func leadingInteger(text string) string {
	text = strings.TrimLeft(text, " \t\n\v\f\r")
	end := 0
	if text != "" && (text[0] == '+' || text[0] == '-') {
		end++
	}
	first := end
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	if end == first {
		return ""
	}
	return text[:end]
}
