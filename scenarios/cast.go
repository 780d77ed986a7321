package scenarios

import (
	"maps"
	"slices"
	"strings"

	"github.com/callbench/callbench/reports/trace"
)

// userKey is what the attributes of run.begin begin with that say who plays a user
// of the script.
const userKey = "user."

// Users are the users of the script's clients, in the order in which they appear.
func (s *Scenario) Users() []string {
	var users []string
	for _, c := range s.Clients {
		if !slices.Contains(users, c.User) {
			users = append(users, c.User)
		}
	}
	return users
}

// WithUsers is the scenario with others in the place of its users: the accounts
// that a server knows. In the script and in the trace clients keep their names.
func (s *Scenario) WithUsers(accounts map[string]string) *Scenario {
	one := *s
	one.accounts = maps.Clone(accounts)
	one.Clients = slices.Clone(s.Clients)
	for i, c := range one.Clients {
		if a, ok := accounts[c.User]; ok {
			one.Clients[i].User = a
		}
	}
	return &one
}

// account is who plays the user that a word names, or the word itself.
func (s *Scenario) account(word string) string {
	if a, ok := s.accounts[word]; ok {
		return a
	}
	return word
}

// played is the user of the script that an account plays, or the account itself.
func (s *Scenario) played(account string) string {
	for _, user := range sortedKeys(s.accounts) {
		if s.accounts[user] == account {
			return user
		}
	}
	return account
}

// allOf are the users that words with commas between them mean, in the order of the
// alphabet.
func (s *Scenario) allOf(words string) string {
	all := strings.Split(words, ",")
	for i, w := range all {
		all[i] = s.user(w)
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// key is a pattern of Redis keys with accounts in the place of the script's users.
func (s *Scenario) key(pattern string) string {
	if len(s.accounts) == 0 {
		return pattern
	}
	parts := strings.Split(pattern, ":")
	for i, p := range parts {
		parts[i] = s.account(p)
	}
	return strings.Join(parts, ":")
}

// accountsOf reads from a trace's head who played whom.
func accountsOf(head trace.Event) map[string]string {
	accounts := map[string]string{}
	for _, a := range head.Attrs {
		if user, ok := strings.CutPrefix(a.Key, userKey); ok {
			accounts[user] = a.Text()
		}
	}
	return accounts
}

// Capabilities that verbs take whose scripts need not say so: most worlds have
// them.
const (
	needTokens     = "tokens"
	needRevocation = "revocation"
	needBlocks     = "blocks"
)

// takes are the capabilities that the scenario needs: those that it names, and
// those of what it does.
func (s *Scenario) takes() []string {
	needs := slices.Clone(s.Needs)
	for _, st := range s.Steps {
		if st.Kind != Action {
			continue
		}
		v := findVerb(st.Clauses[0].Verb, len(st.Actors) == 0)
		if v == nil || v.takes == nil {
			continue
		}
		if n := v.takes(st.Clauses[0]); n != "" && !slices.Contains(needs, n) {
			needs = append(needs, n)
		}
	}
	return needs
}

func takesBlocks(Clause) string { return needBlocks }

// takesToken is what a kind of token takes: the good one and none are everybody's.
func takesToken(c Clause) string {
	switch c.Args[1] {
	case TokenGood, TokenMissing:
		return ""
	case TokenRevoked:
		return needRevocation
	}
	return needTokens
}
