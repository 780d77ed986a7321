package kurento_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/callbench/callbench/kurento"
)

// checkDecode proves that the typed body holds everything that KMS sent:
// encoded again it is the same, but for the names of the types.
func checkDecode(t *testing.T, ev kurento.Event) {
	body, err := ev.Decode()
	if err != nil {
		t.Error(err)
		return
	}
	if name := fmt.Sprintf("%T", body); name != "kurento."+string(ev.Type) && ev.Type != kurento.EventError {
		t.Errorf("%s decodes to %s", ev.Type, name)
	}
	again, err := json.Marshal(body)
	if err != nil {
		t.Error(err)
	}
	var got, want any
	_ = json.Unmarshal(again, &got)
	_ = json.Unmarshal(ev.Data, &want)
	stripTypes(want)
	if members := want.(map[string]any); ev.Type != kurento.EventError {
		if kind, ok := members["type"]; ok && kind != string(ev.Type) {
			t.Errorf("%s has type %v inside", ev.Type, kind)
		}
		delete(members, "type")
	}
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if !bytes.Equal(g, w) {
		t.Errorf("%s decoded to\n%s from\n%s", ev.Type, g, w)
	}
}

// stripTypes removes __module__ and __type__ everywhere in v.
func stripTypes(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "__module__")
		delete(v, "__type__")
		for _, member := range v {
			stripTypes(member)
		}
	case []any:
		for _, element := range v {
			stripTypes(element)
		}
	}
}

// TestEventDecode checks what recordings do not show: fields by value, and
// what cannot be decoded.
func TestEventDecode(t *testing.T) {
	ev := kurento.Event{Object: "o", Type: kurento.EventError, Data: json.RawMessage(
		`{"description":"d","errorCode":13,"source":"o","tags":[{"key":"room","value":"1"}],"timestampMillis":"1795375378001","type":"UNEXPECTED_ELEMENT_ERROR"}`)}
	body, err := ev.Decode()
	raised, ok := body.(kurento.ErrorRaised)
	if err != nil || !ok {
		t.Fatalf("%T, %v", body, err)
	}
	if raised.Name != "UNEXPECTED_ELEMENT_ERROR" || raised.ErrorCode != 13 || raised.Source != "o" || raised.Tags[0].Value != "1" {
		t.Errorf("decoded %+v", raised)
	}
	if at := time.Date(2026, 11, 22, 19, 22, 58, 1e6, time.UTC); !raised.Time.Time().Equal(at) {
		t.Errorf("time %v, want %v", raised.Time.Time().UTC(), at)
	}
	for name, ev := range map[string]kurento.Event{
		"unknown type": {Type: "BarcodeFound", Data: json.RawMessage(`{}`)},
		"wrong member": {Type: kurento.EventIceComponentStateChanged, Data: json.RawMessage(`{"componentId":"one"}`)},
		"bad time":     {Type: kurento.EventPaused, Data: json.RawMessage(`{"timestampMillis":"noon"}`)},
		"no data":      {Type: kurento.EventPaused},
	} {
		if body, err := ev.Decode(); err == nil {
			t.Errorf("%s: decoded to %+v", name, body)
		}
	}
}
