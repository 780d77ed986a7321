package tokens

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const secret = "eyJhbGciOiJIUzI1NiJ9.do-not-tell-this-to-anybody.c2lnbmF0dXJl"

// env is an environment with these variables.
func env(pairs ...string) Config {
	return Config{Getenv: func(name string) string {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// refusedTo fails the test if there is no error, if it does not say why, or if it
// tells the secret.
func refusedTo(t *testing.T, err error, why string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("it is taken; wanted %q", why)
	case !strings.Contains(err.Error(), why):
		t.Errorf("%v; wanted %q", err, why)
	case strings.Contains(err.Error(), "do-not-tell"):
		t.Errorf("it tells the token: %v", err)
	}
}

func TestFile(t *testing.T) {
	source, err := Open(write(t, "user,token\n# staging\nalice, "+secret+"\nbob,t-2\n"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{"alice": secret, "bob": "t-2"} {
		if got, err := source.Token(t.Context(), user, ""); err != nil || got != want {
			t.Errorf("%s: %q %v", user, got, err)
		}
	}
	_, err = source.Token(t.Context(), "carol", "")
	refusedTo(t, err, "no token of carol")
	for text, why := range map[string]string{
		"":                                    "has no tokens",
		"alice\n":                             ":1: a line is user,token",
		"alice," + secret + ",more\n":         ":1: a line is user,token",
		"alice," + secret + "\nalice,t\n":     ":2: user alice is there twice",
		"alice," + secret + " " + secret:      "spaces",
		"alice,\"" + secret + "\nbob,t-2\n":   "a line is user,token",
		"alice," + strings.Repeat("x", 20000): "more than",
		"ali\"ce," + secret + "\n":            "a line is user,token",
	} {
		_, err := Open(write(t, text), Config{})
		refusedTo(t, err, why)
	}
	_, err = Open(filepath.Join(t.TempDir(), "none.csv"), Config{})
	refusedTo(t, err, "read tokens")
	_, err = Open(t.TempDir(), Config{})
	refusedTo(t, err, "read tokens")
}

func TestCommand(t *testing.T) {
	for spec, want := range map[string]string{
		"cmd:printf %s-%s-token {user} {device}":           "alice-phone-token",
		`cmd:printf '%s' "the-token-of-{user}"`:            "the-token-of-alice",
		`cmd:/bin/sh -c 'printf %s "$1"' - {user}`:         "alice",
		`cmd:printf %s $HOME;{user}`:                       "$HOME;alice", // no shell has read it
		`sh:printf %s "$CALLBENCH_USER" | tr a-z A-Z`:      "ALICE",
		`sh:printf '%s\n' "$CALLBENCH_DEVICE-of-a-device"`: "phone-of-a-device",
	} {
		source, err := Open(spec, Config{})
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		if got, err := source.Token(t.Context(), "alice", "phone"); err != nil || got != want {
			t.Errorf("%s: %q %v", spec, got, err)
		}
	}
	for spec, why := range map[string]string{
		"cmd:":                                "needs a command",
		"sh: ":                                "needs a command",
		"cmd:printf 'x":                       "not closed",
		"cmd:no-such-command-anywhere {user}": "no-such-command-anywhere",
		"cmd:printf":                          "of alice",
		"cmd:true":                            "empty",
		"cmd:printf %s\\n%s " + secret + " " + secret:   "nothing else",
		"sh:echo no key for " + secret + " >&2; exit 3": "exit status 3: no key for …",
	} {
		source, err := Open(spec, Config{})
		if err == nil {
			_, err = source.Token(t.Context(), "alice", "phone")
		}
		refusedTo(t, err, why)
	}
}

// A user's name is an argument, whatever is in it.
func TestCommandIsNoShell(t *testing.T) {
	source, err := Open("cmd:printf %s {user}", Config{})
	if err != nil {
		t.Fatal(err)
	}
	const user = "a;$(id)"
	if got, err := source.Token(t.Context(), user, ""); err != nil || got != user {
		t.Errorf("%q %v", got, err)
	}
}

func TestSigner(t *testing.T) {
	_, err := Open("jwt", env())
	refusedTo(t, err, "CALLBENCH_JWT_SECRET")
	source, err := Open("jwt", env("CALLBENCH_JWT_SECRET", "a secret of 32 bytes, or of more", "CALLBENCH_JWT_ISSUER", "login", "CALLBENCH_JWT_AUDIENCE", "calls"))
	if err != nil {
		t.Fatal(err)
	}
	verify := func(text string) (*jwt.RegisteredClaims, error) {
		var c jwt.RegisteredClaims
		_, err := jwt.ParseWithClaims(text, &c, func(*jwt.Token) (any, error) { return []byte("a secret of 32 bytes, or of more"), nil },
			jwt.WithIssuer("login"), jwt.WithAudience("calls"), jwt.WithIssuedAt(), jwt.WithExpirationRequired())
		return &c, err
	}
	good, err := source.Token(t.Context(), "alice", "")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := verify(good); err != nil || c.Subject != "alice" || c.ID == "" {
		t.Errorf("%+v %v", c, err)
	}
	forge := source.(Forger).Forge
	for kind, valid := range map[string]bool{"wrong": false, "expired": false, "30s": true} {
		text, err := forge("alice", kind)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := verify(text); (err == nil) != valid || valid && time.Until(c.ExpiresAt.Time) > 30*time.Second {
			t.Errorf("%s: %+v %v", kind, c, err)
		}
	}
	if _, err := forge("alice", "odd"); err == nil {
		t.Error("an odd token is signed")
	}
}

// login is a token endpoint that knows one client and the users' password, and says
// which grant it gave a token for.
func login(t *testing.T) string {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		id, pass, _ := r.BasicAuth()
		if err := r.ParseForm(); err != nil || id != "callbench" || pass != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_client", "error_description": "you sent " + secret})
			return
		}
		grant, user := r.PostForm.Get("grant_type"), r.PostForm.Get("on_behalf_of")
		if grant == "password" {
			user = r.PostForm.Get("username") + ":" + r.PostForm.Get("password")
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": grant + "/" + user + "/" + r.PostForm.Get("audience"), "token_type": "Bearer", "expires_in": 60})
	}))
	t.Cleanup(web.Close)
	return "oauth:" + web.URL + "/token"
}

func TestEndpoint(t *testing.T) {
	spec := login(t)
	passwords := write(t, "alice,pw-a\n")
	client := []string{"CALLBENCH_OAUTH_CLIENT_ID", "callbench", "CALLBENCH_OAUTH_CLIENT_SECRET", "s3cret", "CALLBENCH_OAUTH_USER_FIELD", "on_behalf_of"}
	for want, more := range map[string][]string{
		"client_credentials/alice/":      nil,
		"client_credentials/alice/calls": {"CALLBENCH_OAUTH_AUDIENCE", "calls"},
		"password/alice:all-the-same/":   {"CALLBENCH_OAUTH_PASSWORD", "all-the-same"},
		"password/alice:pw-a/calls":      {"CALLBENCH_OAUTH_PASSWORDS", passwords, "CALLBENCH_OAUTH_AUDIENCE", "calls"},
	} {
		source, err := Open(spec, env(append(more, client...)...))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := source.Token(t.Context(), "alice", ""); err != nil || got != want {
			t.Errorf("%q %v, want %q", got, err, want)
		}
	}
	source, err := Open(spec, env(append([]string{"CALLBENCH_OAUTH_PASSWORDS", passwords}, client...)...))
	if err != nil {
		t.Fatal(err)
	}
	_, err = source.Token(t.Context(), "bob", "")
	refusedTo(t, err, "no password of this user")
}

func TestEndpointRefuses(t *testing.T) {
	spec := login(t)
	source, err := Open(spec, env("CALLBENCH_OAUTH_CLIENT_ID", "callbench", "CALLBENCH_OAUTH_CLIENT_SECRET", "do-not-tell"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = source.Token(t.Context(), "alice", "")
	refusedTo(t, err, "401 Unauthorized invalid_client")
	for spec, why := range map[string]string{
		"oauth:":                                  "https://",
		"oauth:http://login.example.com/token":    "https://",
		"oauth:https://u:do-not-tell@login/token": "without a password",
		"oauth:https://login.example.com/token":   "CALLBENCH_OAUTH_CLIENT_ID",
	} {
		_, err := Open(spec, env())
		refusedTo(t, err, why)
	}
	_, err = Open("oauth:https://login.example.com/token", env("CALLBENCH_OAUTH_CLIENT_ID", "x"))
	refusedTo(t, err, "CALLBENCH_OAUTH_CLIENT_SECRET")
}
