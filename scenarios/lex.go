package scenarios

import (
	"fmt"
	"strings"
)

// lex splits a line into words. "…" keeps blanks together, {…} keeps a JSON
// object together, and # starts a comment.
func lex(line string) ([]string, error) {
	var words []string
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			return words, nil
		}
		n, err := wordLen(line)
		if err != nil {
			return nil, err
		}
		words = append(words, line[:n])
		line = line[n:]
	}
}

// wordLen is the length of the word that line starts with.
func wordLen(line string) (int, error) {
	depth, quoted := 0, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			depth++
		case c == '}':
			depth--
		case (c == ' ' || c == '\t') && depth <= 0:
			return i, nil
		}
	}
	if quoted {
		return 0, fmt.Errorf("a quote is not closed")
	}
	if depth > 0 {
		return 0, fmt.Errorf("a brace is not closed")
	}
	return len(line), nil
}

// unquote takes the quotes off a word that has them.
func unquote(word string) string {
	if len(word) >= 2 && word[0] == '"' && word[len(word)-1] == '"' {
		return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(word[1 : len(word)-1])
	}
	return word
}

// cutField splits key=value, key>=value and the like. Only a plain key before
// the operator makes a field, so that JSON and text are not mistaken for one.
func cutField(word string) (Field, bool) {
	i := strings.IndexAny(word, "=<>")
	if i <= 0 || !plainKey(word[:i]) {
		return Field{}, false
	}
	n := 1
	if word[i] != '=' && i+1 < len(word) && word[i+1] == '=' {
		n = 2
	}
	return Field{Key: word[:i], Op: word[i : i+n], Value: unquote(word[i+n:])}, true
}

func plainKey(s string) bool {
	for _, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.ContainsRune("._-[]", c)) {
			return false
		}
	}
	return true
}
