package tokens

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// endpointLimit is how long a token endpoint may take to answer.
const endpointLimit = 15 * time.Second

// endpoint asks an OAuth 2.0 token endpoint (RFC 6749): with a user's password
// (§4.3) if there are passwords, else with the client's credentials (§4.4) and the
// user's name beside them.
type endpoint struct {
	client    *http.Client
	password  string            // of all users
	passwords map[string]string // of each
	field     string            // of the form, that names the user
	form      url.Values        // what else is asked with
	oauth     clientcredentials.Config
}

// The environment of token endpoints.
const (
	envID        = "CALLBENCH_OAUTH_CLIENT_ID"
	envSecret    = "CALLBENCH_OAUTH_CLIENT_SECRET"
	envScope     = "CALLBENCH_OAUTH_SCOPE"
	envAudience  = "CALLBENCH_OAUTH_AUDIENCE"
	envField     = "CALLBENCH_OAUTH_USER_FIELD"
	envPassword  = "CALLBENCH_OAUTH_PASSWORD"
	envPasswords = "CALLBENCH_OAUTH_PASSWORDS"
)

func openEndpoint(address string, cfg Config) (*endpoint, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !(u.Scheme == "http" && onLoopback(u.Hostname())) {
		return nil, errors.New("oauth: needs an https:// URL without a password in it, such as oauth:https://login.example.com/token")
	}
	e := &endpoint{client: cmp.Or(cfg.Client, http.DefaultClient), password: cfg.Getenv(envPassword), field: cmp.Or(cfg.Getenv(envField), "user"), form: url.Values{}}
	e.oauth = clientcredentials.Config{ClientID: cfg.Getenv(envID), ClientSecret: cfg.Getenv(envSecret), Scopes: strings.Fields(cfg.Getenv(envScope)), TokenURL: address}
	if a := cfg.Getenv(envAudience); a != "" {
		e.form.Set("audience", a)
	}
	if path := cfg.Getenv(envPasswords); path != "" {
		if e.passwords, err = readPasswords(path); err != nil {
			return nil, err
		}
	}
	if e.oauth.ClientID == "" {
		return nil, fmt.Errorf("oauth: needs %s, and %s if the client has a secret", envID, envSecret)
	}
	if e.oauth.ClientSecret == "" && e.password == "" && e.passwords == nil {
		return nil, fmt.Errorf("oauth: needs %s, or passwords of users in %s or in the file %s", envSecret, envPassword, envPasswords)
	}
	return e, nil
}

// onLoopback reports whether a host is this machine, to which secrets may go
// without TLS.
func onLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// readPasswords reads lines of user,password.
func readPasswords(path string) (map[string]string, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read passwords: %w", err)
	}
	defer in.Close()
	rows := csv.NewReader(in)
	rows.Comment, rows.FieldsPerRecord = '#', 2
	all, err := rows.ReadAll()
	if err != nil { // what it says may have a password in it
		return nil, fmt.Errorf("%s: a line is user,password", path)
	}
	passwords := map[string]string{}
	for _, row := range all {
		passwords[row[0]] = row[1]
	}
	return passwords, nil
}

// Token implements Source.
func (e *endpoint) Token(ctx context.Context, user, _ string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, e.client), endpointLimit)
	defer cancel()
	token, err := e.ask(ctx, user)
	if err == nil {
		err = check(token)
	}
	if err != nil {
		return "", fmt.Errorf("ask %s for a token of %s: %w", e.oauth.TokenURL, user, spare(err))
	}
	return token, nil
}

func (e *endpoint) ask(ctx context.Context, user string) (string, error) {
	password, own := e.passwords[user]
	form := maps.Clone(e.form)
	switch {
	case e.passwords != nil && !own && e.password == "":
		return "", errors.New("there is no password of this user")
	case own || e.password != "":
		form["grant_type"] = []string{"password"}
		form["username"], form["password"] = []string{user}, []string{cmp.Or(password, e.password)}
	default:
		form[e.field] = []string{user}
	}
	c := e.oauth
	c.EndpointParams = form
	t, err := c.Token(ctx)
	if err != nil {
		return "", err
	}
	return t.AccessToken, nil
}

// spare leaves of an answer of the endpoint only what has no secrets in it.
func spare(err error) error {
	var refused *oauth2.RetrieveError
	var failed *url.Error
	switch {
	case errors.As(err, &refused):
		return errors.New(strings.TrimSpace(refused.Response.Status + " " + refused.ErrorCode))
	case errors.As(err, &failed):
		return failed.Err
	}
	return err
}
