package kmsmock

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

func control(t *testing.T, s *Server, method, path, body string, header ...string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequest(method, s.ControlURL()+path, strings.NewReader(body))
	must(t, err)
	if len(header) > 0 {
		req.Header.Set(header[0], header[1])
	}
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Errorf("%s %s gives %q: %v", method, path, b, err)
	}
	return resp.StatusCode, out
}

func TestControl(t *testing.T) {
	s := Start(t, func(c *Config) { c.KeepLeft = true })
	kms := dialURL(t, s.URL(), nil)
	defer kms.close()
	pipe := kms.create("MediaPipeline", nil)
	if code, got := control(t, s, "GET", "", ""); code != 200 || len(got["objects"].([]any)) != 1 || len(got["connections"].([]any)) != 1 {
		t.Errorf("%d %v", code, got)
	}
	code, got := control(t, s, "POST", "/rules", `{"name":"slow","match":{"method":"ping"},"do":"error","error":{"code":7,"message":"no"}}`)
	if code != 200 || got["name"] != "slow" {
		t.Errorf("%d %v", code, got)
	}
	if code, _ := kms.fails("ping", map[string]any{}); code != 7 {
		t.Errorf("the rule gives %d", code)
	}
	if code, got := control(t, s, "DELETE", "/rules/slow", ""); code != 200 {
		t.Errorf("%d %v", code, got)
	}
	kms.value("ping", map[string]any{})
	if code, got := control(t, s, "PUT", "/modes", `{"shuffle":true,"noCrash":true}`); code != 200 || !s.Modes().Shuffle || !s.Modes().NoCrash {
		t.Errorf("%d %v", code, got)
	}
	if code, got := control(t, s, "POST", "/commands", `{"do":"thread_limit","limit":1}`); code != 200 {
		t.Errorf("%d %v", code, got)
	}
	if code, _ := kms.fails("create", map[string]any{"type": "MediaPipeline"}); code != 40009 {
		t.Errorf("create gives %d", code)
	}
	kms.value("release", map[string]any{"object": pipe})
}

// TestRulesSayWhatTheyLack looks at the texts for mistakes that are easily made.
func TestRulesSayWhatTheyLack(t *testing.T) {
	s := Start(t)
	for body, want := range map[string]string{
		`{"do":"delay"}`:             "rule: do delay needs delay",
		`{"name":"x","do":"error"}`:  `rule "x": do error needs error`,
		`{"do":"drop","delay":"1s"}`: "delay belongs to do delay; this rule does drop",
		`{"do":"delay","delay":300}`: `delay must be a duration such as "300ms"`,
		`{"do":"slow"}`:              "must be one of delay, error, drop",
	} {
		if status, got := control(t, s, "POST", "/rules", body); status != 400 || !strings.Contains(got["message"].(string), want) {
			t.Errorf("%s: %d %v, want %q", body, status, got, want)
		}
	}
	if _, got := control(t, s, "GET", "", ""); got["objects"] == nil || got["sessions"] == nil {
		t.Errorf("an idle server shows %v", got)
	}
}

func TestControlRefuses(t *testing.T) {
	s := Start(t)
	for _, tc := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", "/rules", `{"do":"drop","colour":"red"}`, 400, "malformed"},
		{"POST", "/rules", `{"do":"drop"} x`, 400, "malformed"},
		{"POST", "/rules", `{"do":"delay","delay":"soon"}`, 400, "malformed"},
		{"POST", "/rules", `{"do":"burn"}`, 400, "refused"},
		{"POST", "/commands", `{"do":"refuse"}`, 400, "refused"},
		{"POST", "/commands", `{"do":"thread_limit","limit":-1}`, 400, "refused"},
		{"POST", "/rules", "", 400, "malformed"},
		{"POST", "/rule", `{"do":"drop"}`, 404, "not_found"},
		{"GET", "/rules", "", 404, "not_found"},
		{"POST", "/scripts", `{}`, 400, "refused"},
		{"POST", "/rules", strings.Repeat(" ", maxControl+1), 413, "too_large"},
		{"DELETE", "/rules/none", "", 404, "not_found"},
	} {
		if status, got := control(t, s, tc.method, tc.path, tc.body); status != tc.status || got["code"] != tc.code || got["message"] == "" {
			t.Errorf("%s %s %.40s: %d %v", tc.method, tc.path, tc.body, status, got)
		}
	}
	if status, got := control(t, s, "GET", "", "", "Origin", "http://evil.example"); status != 403 || got["code"] != "forbidden" {
		t.Errorf("a web page gets %d %v", status, got)
	}
	for allow, from := range map[bool]string{false: "192.0.2.1:7", true: "192.0.2.1:7"} {
		s.cfg.Control = allow
		if got := s.mayControl(&http.Request{RemoteAddr: from, Header: http.Header{}}); got != allow {
			t.Errorf("%s may control: %v, with Config.Control %v", from, got, allow)
		}
	}
}
