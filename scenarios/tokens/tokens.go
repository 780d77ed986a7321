// Package tokens gets what clients show when they connect to a server that
// somebody else runs: from a file, from a command, from an OAuth 2.0 token
// endpoint, or signed here with a secret. What it says of failures never has a
// token in it.
package tokens

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"unicode"
)

// Source gives tokens.
type Source interface {
	// Token gives one that is good for the user on this device.
	Token(ctx context.Context, user, device string) (string, error)
}

// Forger is a Source that can give other tokens than good ones.
type Forger interface {
	// Forge gives a token that somebody else signed ("wrong"), that has run out
	// ("expired"), or that is good for a duration such as 30s.
	Forge(user, kind string) (string, error)
}

// Config is what sources need besides their name.
type Config struct {
	// Getenv reads the environment, in which secrets are.
	Getenv func(name string) string
	// Client asks token endpoints. Nil is the default one.
	Client *http.Client
}

// Open opens the source that a specification names: jwt, cmd:COMMAND, sh:COMMAND,
// oauth:URL, or the path of a file.
func Open(spec string, cfg Config) (Source, error) {
	kind, rest, _ := strings.Cut(spec, ":")
	switch {
	case spec == "jwt":
		return openSigner(cfg)
	case kind == "cmd":
		return openCommand(rest)
	case kind == "sh":
		return openShell(rest)
	case kind == "oauth":
		return openEndpoint(rest, cfg)
	}
	return openFile(spec)
}

// check refuses what cannot be a token. It does not repeat it.
func check(token string) error {
	switch {
	case token == "":
		return fmt.Errorf("the token is empty")
	case len(token) > maxToken:
		return fmt.Errorf("the token has %d bytes, more than %d", len(token), maxToken)
	case strings.ContainsFunc(token, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r > unicode.MaxASCII }):
		return fmt.Errorf("the token has spaces or other characters that no token has")
	}
	return nil
}

// maxToken is more than a header may be for most servers, in bytes.
const maxToken = 16 << 10
