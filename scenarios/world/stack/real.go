package stack

import (
	"context"
	"fmt"
	"strings"
)

// Real tells that the parts are what their names say, in the words of a report, or
// why they are not: a part that is another in its place must have been asked for by
// name. digest is what the media server's image must be, if it is given.
func (s *Stack) Real(ctx context.Context, digest string) (proof string, err error) {
	var said []string
	if p, err := s.Part(MySQL); err == nil && s.StandIn(MySQL) == "" && strings.Contains(p.version, "MariaDB") {
		return "", fmt.Errorf("mysql is %s, from %s: say so with -stand-in mysql=mariadb", p.version, p.spec.image)
	}
	for _, part := range PartNames() {
		if what := s.StandIn(part); what != "" {
			said = append(said, fmt.Sprintf("%s stands in for %s, as it was asked to", what, part))
		}
	}
	if s.StandIn(Kurento) != "" {
		return "kurento is not proven; " + strings.Join(said, "; "), nil
	}
	if err := s.Prove(ctx, digest); err != nil {
		return "", err
	}
	p, err := s.Part(Kurento)
	if err != nil {
		return "", err
	}
	pinned := "no digest was asked for"
	if digest != "" {
		pinned = "as its digest was asked for"
	}
	said = append([]string{fmt.Sprintf("kurento is real: it says that it is %s, runs from %s (%s), and turned a picture that nobody knew", p.version, p.spec.image, pinned)}, said...)
	return strings.Join(said, "; "), nil
}
