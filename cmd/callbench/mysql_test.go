package main

import (
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/gorilla/websocket"
)

// database makes a database of the test's own.
func database(t *testing.T) (dsn string) {
	t.Helper()
	dsn = os.Getenv("CALLBENCH_MYSQL_DSN")
	if dsn == "" {
		t.Skip("CALLBENCH_MYSQL_DSN names no MySQL or MariaDB, such as root@tcp(127.0.0.1:3306)/")
	}
	c, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	c.DBName = ""
	db, err := sql.Open("mysql", c.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	c.DBName = "callbench_" + strings.ToLower(rand.Text()[:10])
	if _, err := db.Exec("CREATE DATABASE " + c.DBName); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.Exec("DROP DATABASE " + c.DBName); err != nil {
			t.Error(err)
		}
		db.Close()
	})
	return c.FormatDSN()
}

// tokensOf are the demo users' tokens by name.
func tokensOf(t *testing.T, addr string) map[string]string {
	t.Helper()
	_, body := get(t, "http://"+addr+"/users.json")
	var users []struct{ Name, Token string }
	if err := json.Unmarshal([]byte(body), &users); err != nil {
		t.Fatal(err)
	}
	tokens := make(map[string]string)
	for _, u := range users {
		tokens[u.Name] = u.Token
	}
	return tokens
}

// level0 connects a client that speaks level 0.
func level0(t *testing.T, addr, token string) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+addr+"/ws", http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	return ws
}

// TestServiceServeMySQL serves twice with one database: the second server knows
// what the first was told. The users of both are in the database.
func TestServiceServeMySQL(t *testing.T) {
	dsn, dir := database(t), t.TempDir()
	if f := examineMySQL(t.Context(), dsn); f.State != stateOK || !strings.Contains(f.Found, "without tables") {
		t.Errorf("doctor: %+v", f)
	}
	t.Setenv("CALLBENCH_SECRET", "a secret of at least 32 bytes .......")
	addr, stop := served(t, "-users", "ann,ben", "-mysql", dsn, "-data", dir)
	ann := level0(t, addr, tokensOf(t, addr)["ann"])
	for _, frame := range []string{`{"type":"message","data":{"to":"ben","content":"hello"}}`, `{"type":"message","data":{"to":"nobody","content":"hello"}}`,
		`{"type":"rtc","action":"call","targetUser":"ben"}`} {
		if err := ann.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
			t.Fatal(err)
		}
	}
	for _, why := range []string{"nobody is known", "ben is not there"} {
		if _, text, err := ann.ReadMessage(); err != nil || !strings.Contains(string(text), "user_unavailable") {
			t.Errorf("%s: %s %v", why, text, err)
		}
	}
	if code, output := stop(); code != exitPass || !strings.Contains(output, "its journal in "+dir) {
		t.Errorf("exit code %d\n%s", code, output)
	}

	addr, stop = served(t, "-users", "ben,cat", "-mysql", dsn, "-data", dir)
	until(t, "the database has everything", func() bool {
		_, body := get(t, "http://"+addr+"/metrics")
		return strings.Contains(body, "\ncallbench_unwritten 0\n")
	})
	tokens := tokensOf(t, addr)
	ben := level0(t, addr, tokens["ben"])
	for _, want := range []string{`"from":"ann"`, "Missed call"} {
		if _, text, err := ben.ReadMessage(); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("ben reads %s %v, want %s", text, err, want)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/api/calls?missed=1", addr), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+tokens["ben"])
	var page struct {
		Items []struct{ Caller, Reason string }
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&page); err != nil || len(page.Items) != 1 || page.Items[0].Caller != "ann" || page.Items[0].Reason != "user_unavailable" {
		t.Errorf("ben missed %+v, %v", page, err)
	}
	stop()
	if f := examineMySQL(t.Context(), dsn); f.State != stateOK || !strings.Contains(f.Found, "9 of the 9 tables") {
		t.Errorf("doctor: %+v", f)
	}
}
