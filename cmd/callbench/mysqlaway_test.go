package main

import (
	"context"
	"database/sql"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// TestServiceServeWithoutMySQL kills server and database and starts the server alone:
// it takes clients, delivers what waits for them and keeps what is sent, and says
// that the database is away. When that comes it gets everything.
func TestServiceServeWithoutMySQL(t *testing.T) {
	mysql, dsn := newMariaDBPart(t)
	addr := freeAddr(t)
	server := newCallbenchPart(t, "server", addr, "/healthz", "serve", "-listen", addr, "-users", "ann,ben", "-secret", "a secret of 32 bytes, for killing",
		"-mysql", dsn, "-data", t.TempDir())
	say := func(content string) {
		t.Helper()
		ann := level0(t, addr, tokensOf(t, addr)["ann"])
		if err := ann.WriteMessage(websocket.TextMessage, []byte(`{"type":"message","data":{"to":"ben","content":"`+content+`"}}`)); err != nil {
			t.Fatal(err)
		}
		if err := ann.WriteMessage(websocket.TextMessage, []byte(`{"type":"message","data":{"to":"nobody","content":"?"}}`)); err != nil {
			t.Fatal(err)
		}
		if _, text, err := ann.ReadMessage(); err != nil || !strings.Contains(string(text), "user_unavailable") {
			t.Errorf("nobody is known: %s %v", text, err)
		}
	}
	history := func() int {
		t.Helper()
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+addr+"/api/calls", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+tokensOf(t, addr)["ben"])
		resp, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	written := func(n int) func() bool {
		return func() bool {
			var got int
			return db.QueryRow("SELECT COUNT(*) FROM messages").Scan(&got) == nil && got == n
		}
	}
	say("before")
	until(t, "the message is written", written(1))
	server.kill()
	mysql.kill()
	server.start()
	if code, body := get(t, "http://"+addr+"/readyz"); code != 200 || !strings.Contains(body, `"mysql":"not there"`) {
		t.Errorf("%d %s", code, body)
	}
	if code := history(); code != http.StatusInternalServerError {
		t.Errorf("history is answered with %d", code)
	}
	say("meanwhile")
	mysql.start()
	until(t, "the database has everything", written(2))
	until(t, "the server says that the database is there", func() bool {
		_, body := get(t, "http://"+addr+"/readyz")
		return strings.Contains(body, `"mysql":"ok"`)
	})
	if code := history(); code != http.StatusOK {
		t.Errorf("history is answered with %d", code)
	}
	ben := level0(t, addr, tokensOf(t, addr)["ben"])
	for _, want := range []string{"before", "meanwhile"} {
		if _, text, err := ben.ReadMessage(); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("ben reads %s %v, want %s", text, err, want)
		}
	}
}
