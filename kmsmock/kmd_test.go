package kmsmock

import (
	"encoding/json"
	"net"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestServiceModel holds the module descriptions of the mock against those of
// a real server, which have documentation besides.
func TestServiceModel(t *testing.T) {
	server := os.Getenv("CALLBENCH_KMS_URL")
	if server == "" {
		t.Skip("CALLBENCH_KMS_URL is not set")
	}
	kms := dialURL(t, server, (&net.Dialer{}).DialContext)
	defer kms.close()
	for _, name := range moduleNames {
		got := kms.invoke(managerID, "getKmd", map[string]any{"moduleName": name}).(string)
		if diff := cmp.Diff(undocumented(t, stockModel().kmd[name]), undocumented(t, got)); diff != "" {
			t.Errorf("module %s (-mock +server):\n%s", name, diff)
		}
	}
}

// undocumented is a description without documentation.
func undocumented(t *testing.T, text string) any {
	t.Helper()
	var out any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	dropDoc(out)
	return out
}

func dropDoc(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "doc")
		for _, member := range v {
			dropDoc(member)
		}
	case []any:
		for _, item := range v {
			dropDoc(item)
		}
	}
}
