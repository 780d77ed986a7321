package tokens

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// commandLimit is how long a command may take to give a token.
const commandLimit = 15 * time.Second

// command gives tokens as the output of a program, which is told the user.
type command struct {
	words []string
	shell bool // which reads the words, and finds the user in its environment
}

// openCommand takes a program with its arguments, in which {user} and {device}
// stand for whose token it is. No shell reads them.
func openCommand(line string) (*command, error) {
	words, err := split(line)
	if err != nil {
		return nil, err
	}
	if len(words) == 0 {
		return nil, errors.New("cmd: needs a command, such as cmd:mint-token {user}")
	}
	if _, err := exec.LookPath(words[0]); err != nil {
		return nil, fmt.Errorf("the command for tokens: %w", err)
	}
	return &command{words: words}, nil
}

// openShell takes a line for a POSIX shell, which finds the user in
// $CALLBENCH_USER and the device in $CALLBENCH_DEVICE.
func openShell(line string) (*command, error) {
	if strings.TrimSpace(line) == "" {
		return nil, errors.New(`sh: needs a command, such as sh:mint "$CALLBENCH_USER" | jq -r .token`)
	}
	return &command{words: []string{"/bin/sh", "-c", line}, shell: true}, nil
}

// split takes words apart at spaces; quotes, single or double, keep together what is
// between them.
func split(line string) (words []string, err error) {
	var word strings.Builder
	var quote rune
	begun := false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, begun = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("the command for tokens: a %c is not closed", quote)
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

// Token implements Source: the one word that the command prints.
func (c *command) Token(ctx context.Context, user, device string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	words := c.words
	if !c.shell {
		put := strings.NewReplacer("{user}", user, "{device}", device)
		words = make([]string, len(c.words))
		for i, w := range c.words {
			words[i] = put.Replace(w)
		}
	}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = append(os.Environ(), "CALLBENCH_USER="+user, "CALLBENCH_DEVICE="+device)
	cmd.WaitDelay = time.Second
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{&out}, &limited{&problem}
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("no token after %v", commandLimit)
	}
	if err != nil {
		return "", fmt.Errorf("the command for a token of %s: %w%s", user, err, lastLine(problem.String()))
	}
	token := strings.TrimSpace(out.String())
	if err := check(token); err != nil {
		return "", fmt.Errorf("the command for a token of %s must print it and nothing else: %w", user, err)
	}
	return token, nil
}

// limited keeps the first of what is written.
type limited struct{ to *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxToken + 1 - l.to.Len(); room > 0 {
		l.to.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// long is what may be a token or a part of one.
var long = regexp.MustCompile(`[A-Za-z0-9_\-.=+/]{20,}`)

// lastLine is the last that a command said of its failure, without what may be a
// token.
func lastLine(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	last := lines[len(lines)-1]
	if last == "" {
		return ""
	}
	return ": " + long.ReplaceAllString(last, "…")
}
