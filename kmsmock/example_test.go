package kmsmock_test

import (
	"testing"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/kmsmock"
)

// TestExample is what a test of a Kurento client needs: three lines.
func TestExample(t *testing.T) {
	kms := kmsmock.Start(t)  // serves until the test ends
	useKurento(t, kms.URL()) // whatever is tested, with its Kurento there
	kms.Empty(t)             // has it released all that it made?
}

// useKurento stands for a client: it makes a pipeline and releases it.
func useKurento(t *testing.T, url string) {
	ws, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	ask := func(method string, params map[string]any) (resp struct{ Result struct{ Value string } }) {
		request := map[string]any{"jsonrpc": "2.0", "id": method, "method": method, "params": params}
		if err := ws.WriteJSON(request); err != nil {
			t.Fatal(err)
		}
		if err := ws.ReadJSON(&resp); err != nil {
			t.Fatal(err)
		}
		return resp
	}
	pipeline := ask("create", map[string]any{"type": "MediaPipeline"}).Result.Value
	ask("release", map[string]any{"object": pipeline})
}
