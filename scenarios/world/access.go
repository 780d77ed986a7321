package world

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/callbench/callbench/scenarios"
	"github.com/callbench/callbench/server"
)

// access is what the product's login service and its users decide: which token
// a client has to show, and who knows and who blocks whom. All users of a
// scenario are each other's contacts; under load each call has users of its own.
type access struct {
	secret []byte

	mu      sync.Mutex
	tokens  map[string]string    // kind by user and device; good if absent
	shown   map[string]string    // the last token, by user and device
	signed  map[string]int       // tokens so far, by user and device
	friends map[string]*[]string // by user: everybody in its scenario, in the order in which they came
	circles map[any]*[]string    // by what tells one scenario from another
	blocked map[[2]string]bool   // who blocks, and whom
}

func (a *access) init() {
	a.secret = []byte("the harness signs its own users' tokens")
	a.tokens, a.shown, a.signed, a.blocked = map[string]string{}, map[string]string{}, map[string]int{}, map[[2]string]bool{}
	a.friends, a.circles = map[string]*[]string{}, map[any]*[]string{}
}

// know makes a user known, and a contact of all others of the same circle.
func (a *access) know(user string, circle any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.friends[user] != nil {
		return
	}
	if a.circles[circle] == nil {
		a.circles[circle] = new([]string)
	}
	all := a.circles[circle]
	*all = append(*all, user)
	a.friends[user] = all
}

// Block implements scenarios.World.
func (a *access) Block(user, other string, on bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.blocked[[2]string{user, other}] = on
	return nil
}

// Reaches reports whether one user may write to, call and see the other: it is
// known, and does not block the first.
func (a *access) Reaches(from, to string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.friends[to] != nil && !a.blocked[[2]string{to, from}]
}

// Contacts lists who is told of a user's presence.
func (a *access) Contacts(user string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.friends[user] == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(*a.friends[user]), func(u string) bool { return u == user })
}

func (a *access) key(c scenarios.Client) string { return c.User + "/" + c.Device }

// Token implements scenarios.World.
func (a *access) Token(c scenarios.Client, kind string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens[a.key(c)] = kind
	return nil
}

// token signs what the product's login service would, or what somebody else
// would.
func (a *access) token(c scenarios.Client) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kind := a.tokens[a.key(c)]
	secret, life := a.secret, time.Hour
	switch kind {
	case "", scenarios.TokenGood:
	case scenarios.TokenRevoked:
		return a.shown[a.key(c)], nil
	case scenarios.TokenMissing:
		return "", nil
	case scenarios.TokenWrong:
		secret = []byte("somebody else's secret, which proves nothing")
	case scenarios.TokenExpired:
		life = -time.Minute
	default:
		d, err := time.ParseDuration(kind)
		if err != nil {
			return "", fmt.Errorf("token of %s: %w", c.Name, err)
		}
		life = d
	}
	a.signed[a.key(c)]++
	claims := jwt.RegisteredClaims{Subject: c.User, ExpiresAt: jwt.NewNumericDate(time.Now().Add(life)), ID: fmt.Sprintf("%s-%d", a.key(c), a.signed[a.key(c)])}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	a.shown[a.key(c)] = text
	return text, err
}

// lastID is the id of the token that a client showed last, "" if it showed none.
func (a *access) lastID(c scenarios.Client) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(a.shown[a.key(c)], &claims); err != nil {
		return ""
	}
	return claims.ID
}

// Token implements scenarios.World: a token that is revoked is taken back at once.
func (y *system) Token(c scenarios.Client, kind string) error {
	if err := y.access.Token(c, kind); err != nil || kind != scenarios.TokenRevoked {
		return err
	}
	id := y.lastID(c)
	if id == "" || y.instance == nil {
		return fmt.Errorf("token %s revoked: it has shown none, or there is no server", c.Name)
	}
	_, err := y.instance.server.Revoke(context.Background(), server.Revocation{TokenID: id})
	return err
}
