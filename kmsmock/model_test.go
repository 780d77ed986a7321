package kmsmock

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// A deskClient talks to a server without a connection in between, so that a
// panic reaches the test.
type deskClient struct {
	t    testing.TB
	s    *Server
	conn *conn
	id   int
}

func newDeskClient(t testing.TB, cfg Config) *deskClient {
	t.Helper()
	cfg.Timing = Fast
	s, err := New(cfg)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	d := &deskClient{t: t, s: s}
	d.connect()
	return d
}

func (d *deskClient) connect() {
	d.conn = &conn{srv: d.s, outbox: newOutbox(func([][]byte) error { return nil }, 0)}
}

// ask sends a request and returns the response, nil for a dropped connection.
func (d *deskClient) ask(method string, params any) map[string]any {
	d.t.Helper()
	d.id++
	frame, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": d.id, "method": method, "params": params})
	must(d.t, err)
	rep := d.s.serve(d.conn, frame)
	if rep.drop {
		return nil
	}
	var out map[string]any
	if err := json.Unmarshal(rep.frame, &out); err != nil {
		d.t.Fatalf("%s answered %q: %v", frame, rep.frame, err)
	}
	return out
}

func (d *deskClient) invoke(object, operation string, params any) map[string]any {
	d.t.Helper()
	return d.ask("invoke", map[string]any{"object": object, "operation": operation, "operationParams": params})
}

func (d *deskClient) create(class string, params map[string]any) string {
	d.t.Helper()
	resp := d.ask("create", map[string]any{"type": class, "constructorParams": params})
	result, _ := resp["result"].(map[string]any)
	id, ok := result["value"].(string)
	if !ok {
		d.t.Fatalf("create %s answered %v", class, resp)
	}
	return id
}

// given are arguments that the constructors of all classes take.
func (d *deskClient) given() map[string]any {
	pipe := d.create("MediaPipeline", nil)
	hub := d.create("Composite", map[string]any{"mediaPipeline": pipe})
	return map[string]any{"mediaPipeline": pipe, "hub": hub, "uri": "file:///nowhere/x.webm", "command": "videoflip"}
}

func (d *deskClient) createAny(c *class) string {
	args := map[string]any{}
	given := d.given()
	for _, p := range c.ctor {
		if !p.optional {
			args[p.name] = given[p.name]
		}
	}
	return d.create(c.name, args)
}

func concreteClasses() []*class {
	var out []*class
	for _, c := range stockModel().classes {
		if !c.abstract {
			out = append(out, c)
		}
	}
	return out
}

func TestEveryClassAnswersDescribeAndItsGetters(t *testing.T) {
	d := newDeskClient(t, Config{NoCrash: true})
	for _, c := range concreteClasses() {
		id := d.createAny(c)
		resp := d.ask("describe", map[string]any{"object": id})
		result, _ := resp["result"].(map[string]any)
		if result["type"] != c.name || result["qualifiedType"] != "kurento."+c.name {
			t.Errorf("%s is described as %v", c.name, resp)
		}
		for a := c; a != nil; a = a.parent {
			for _, p := range a.props {
				getter := "get" + strings.ToUpper(p.name[:1]) + p.name[1:]
				resp := d.invoke(id, getter, nil)
				result, ok := resp["result"].(map[string]any)
				if !ok {
					t.Errorf("%s.%s answered %v", c.name, getter, resp)
					continue
				}
				if result["value"] == nil && p.typ.form != formRef {
					t.Errorf("%s.%s is null", c.name, getter)
				}
			}
		}
	}
}

// TestCallsThatKurentoDoesNotSurvive are those of a real server, found by
// asking it.
func TestCallsThatKurentoDoesNotSurvive(t *testing.T) {
	for _, tc := range []struct {
		class, operation string
		params           map[string]any // SELF, PIPE, PORT and ELEMENT stand for ids
		survives         bool
	}{
		{"WebRtcEndpoint", "getIceTcp", nil, false},
		{"PassThrough", "connect", map[string]any{"sink": "PIPE"}, false},
		{"PassThrough", "connect", map[string]any{"sink": managerID}, false},
		{"PassThrough", "connect", map[string]any{"sink": "PIPE", "mediaType": "NONE"}, true},
		{"PassThrough", "disconnect", map[string]any{"sink": "PIPE"}, true},
		{"PassThrough", "connect", map[string]any{"sink": "SELF"}, true},
		{"ZBarFilter", "connect", map[string]any{"sink": "SELF"}, false},
		{"ZBarFilter", "connect", map[string]any{"sink": "SELF", "mediaType": "VIDEO"}, true},
		{"GStreamerFilter", "connect", map[string]any{"sink": "SELF", "mediaType": "DATA"}, false},
		{"Dispatcher", "connect", map[string]any{"source": "PORT", "sink": "ELEMENT"}, false},
		{"Dispatcher", "connect", map[string]any{"source": "PORT", "sink": "PORT"}, true},
		{"DispatcherOneToMany", "setSource", map[string]any{"source": "ELEMENT"}, false},
		{"AlphaBlending", "setMaster", map[string]any{"source": "PIPE", "zOrder": 1}, false},
		{"AlphaBlending", "setMaster", map[string]any{"source": "PIPE", "zOrder": "x"}, true},
		{"Mixer", "connect", map[string]any{"media": "AUDIO", "source": "PORT", "sink": "PORT"}, false},
		{"Mixer", "connect", map[string]any{"media": "DATA", "source": "ELEMENT", "sink": "PORT"}, true},
		{"Mixer", "disconnect", map[string]any{"media": "AUDIO", "source": "PORT", "sink": "PORT"}, false},
		{"Mixer", "disconnect", map[string]any{"media": "VIDEO", "source": "ELEMENT", "sink": "PORT"}, true},
	} {
		for _, spared := range []bool{false, true} {
			t.Run(fmt.Sprint(tc.class, tc.operation, tc.params, spared), func(t *testing.T) {
				d := newDeskClient(t, Config{NoCrash: spared})
				pipe := d.create("MediaPipeline", nil)
				object := d.create(tc.class, map[string]any{"mediaPipeline": pipe, "command": "identity"})
				ids := map[string]string{"SELF": object, "PIPE": pipe, "ELEMENT": d.create("PassThrough", map[string]any{"mediaPipeline": pipe})}
				if d.s.model.byName[tc.class].is("Hub") {
					ids["PORT"] = d.create("HubPort", map[string]any{"hub": object})
				}
				params := map[string]any{}
				for k, v := range tc.params {
					if id, ok := ids[fmt.Sprint(v)]; ok {
						v = id
					}
					params[k] = v
				}
				if resp := d.invoke(object, tc.operation, params); (resp != nil) != (tc.survives || spared) {
					t.Errorf("answered %v", resp)
				}
			})
		}
	}
}

func TestHTTPPostEndpointHasItsOwnAddress(t *testing.T) {
	d := newDeskClient(t, Config{})
	args := map[string]any{"mediaPipeline": d.create("MediaPipeline", nil)}
	urls := map[any]bool{}
	for range 2 {
		id := d.create("HttpPostEndpoint", args)
		first := d.invoke(id, "getUrl", nil)["result"].(map[string]any)["value"]
		again := d.invoke(id, "getUrl", nil)["result"].(map[string]any)["value"]
		if first != again || !strings.HasPrefix(fmt.Sprint(first), "http://localhost:9091/") {
			t.Errorf("the address is %v, then %v", first, again)
		}
		urls[first] = true
	}
	if len(urls) != 2 {
		t.Errorf("two endpoints have the addresses %v", urls)
	}
}

// TestRandomRequests asks for everything that the model knows, with arguments
// that may be anything, and expects an answer or a dropped connection.
func TestRandomRequests(t *testing.T) {
	const seed = 7
	d := newDeskClient(t, Config{NoCrash: true, Interfaces: []string{"lo"}, Seed: seed})
	g := &requestMaker{r: rand.New(rand.NewPCG(seed, 1)), ids: []string{managerID, "", "newref:0"}}
	for range 5000 {
		frame := appendJSON(nil, g.request())
		rep := d.s.serve(d.conn, frame)
		if rep.drop {
			d.connect()
			continue
		}
		var resp struct {
			ID     any
			Result struct{ Value any }
			Error  struct{ Code int }
		}
		if err := json.Unmarshal(rep.frame, &resp); err != nil {
			t.Fatalf("seed %d: %s answered %q: %v", seed, frame, rep.frame, err)
		}
		if resp.ID == nil {
			t.Fatalf("seed %d: %s answered %s", seed, frame, rep.frame)
		}
		if id, ok := resp.Result.Value.(string); ok && strings.Contains(id, "_kurento.") {
			g.ids = append(g.ids, id)
		}
	}
}

// A requestMaker makes requests of valid form and random content.
type requestMaker struct {
	r   *rand.Rand
	ids []string
	n   int64
}

func (g *requestMaker) request() object {
	g.n++
	params := object{}
	out := object{"jsonrpc": "2.0", "id": g.n, "params": params}
	classes := stockModel().classes
	c := classes[g.r.IntN(len(classes))]
	switch g.r.IntN(10) {
	case 0, 1, 2:
		out["method"], params["type"], params["constructorParams"] = "create", c.name, g.args(c.ctor)
	case 3:
		for name := range methods {
			if g.n%int64(len(name)) == 0 && name != "transaction" {
				out["method"] = name
			}
		}
		if out["method"] == nil {
			out["method"] = "ping"
		}
		params["object"], params["sessionId"], params["subscription"] = g.id(), g.any(2), g.any(2)
	case 4:
		out["method"] = "transaction"
		one := g.request()
		one["id"] = int64(0)
		params["operations"] = array{one, g.any(2)}
	default:
		out["method"], params["object"] = "invoke", g.id()
		g.call(c, params)
	}
	return out
}

func (g *requestMaker) call(c *class, params object) {
	switch {
	case len(c.ops) > 0 && g.r.IntN(3) > 0:
		op := c.ops[g.r.IntN(len(c.ops))]
		params["operation"], params["operationParams"] = op.name, g.args(op.params)
	case len(c.props) > 0:
		p := c.props[g.r.IntN(len(c.props))]
		name := strings.ToUpper(p.name[:1]) + p.name[1:]
		params["operation"] = []string{"get", "set"}[g.r.IntN(2)] + name
		params["operationParams"] = object{p.name: g.argument(p.typ)}
	default:
		params["operation"] = g.any(3)
	}
	if params["operation"] == "getUsedCpu" {
		params["operationParams"] = g.any(1)
	}
}

func (g *requestMaker) args(params []param) value {
	if g.r.IntN(12) == 0 {
		return g.any(0)
	}
	out := object{}
	for _, p := range params {
		if g.r.IntN(12) > 0 {
			out[p.name] = g.argument(p.typ)
		}
	}
	return out
}

func (g *requestMaker) argument(typ *dataType) value {
	if g.r.IntN(12) == 0 {
		return g.any(0)
	}
	switch typ.form {
	case formEnum:
		return typ.values[g.r.IntN(len(typ.values))]
	case formStruct:
		return g.args(typ.fields)
	case formRef:
		return g.id()
	case formString:
		return []string{"videoflip", "file:///nowhere", "v=0\r\nm=audio 9 RTP/AVP 0\r\n", "x"}[g.r.IntN(4)]
	}
	return g.r.Int64N(1000)
}

func (g *requestMaker) id() string { return g.ids[g.r.IntN(len(g.ids))] }

func (g *requestMaker) any(depth int) value {
	switch g.r.IntN(10) {
	case 0:
		return nil
	case 1:
		return g.r.IntN(2) == 0
	case 2:
		return int64(g.r.Uint64())
	case 3:
		return g.r.Uint64() | 1<<63
	case 4:
		return g.r.NormFloat64() * 1e10
	case 5:
		return g.id()
	case 6, 7:
		return []string{"", "x", "newref:0", "a\x00b", "\xff", "sessionId"}[g.r.IntN(6)]
	case 8:
		if depth < 3 {
			return array{g.any(depth + 1)}
		}
	case 9:
		if depth < 3 {
			return object{"a": g.any(depth + 1), "__type__": "SDES", "__module__": "kurento"}
		}
	}
	return int64(0)
}

// FuzzServe feeds whole frames to a live server.
func FuzzServe(f *testing.F) {
	g := &requestMaker{r: rand.New(rand.NewPCG(1, 2)), ids: []string{managerID, "newref:0"}}
	for range 50 {
		f.Add(appendJSON(nil, g.request()))
	}
	d := newDeskClient(f, Config{NoCrash: true, Interfaces: []string{"lo"}})
	f.Fuzz(func(t *testing.T, frame []byte) {
		if strings.Contains(string(frame), "getUsedCpu") {
			t.Skip("takes as long as it is asked to")
		}
		d.connect()
		for range 2 { // the second time on a connection with a session, maybe
			rep := d.s.serve(d.conn, frame)
			if rep.drop || len(rep.frame) == 0 {
				continue
			}
			if !json.Valid(rep.frame) {
				t.Fatalf("%q answered %q", frame, rep.frame)
			}
		}
	})
}
