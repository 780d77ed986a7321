package tokens

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
)

// file is a list of tokens by user.
type file struct {
	path   string
	tokens map[string]string
}

// openFile reads lines of user,token. The first line may name the columns.
func openFile(path string) (*file, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	defer in.Close()
	f := &file{path: path, tokens: map[string]string{}}
	rows := csv.NewReader(in)
	rows.Comment, rows.FieldsPerRecord, rows.TrimLeadingSpace, rows.ReuseRecord = '#', -1, true, true
	for n := 0; ; n++ {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, unreadable(path, err)
		}
		line, _ := rows.FieldPos(0)
		if err := f.add(row, n == 0); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, line, err)
		}
	}
	if len(f.tokens) == 0 {
		return nil, fmt.Errorf("%s has no tokens: a line is user,token", path)
	}
	return f, nil
}

// unreadable says where a file could not be read, without what is there.
func unreadable(path string, err error) error {
	var wrong *csv.ParseError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s:%d: %w", path, wrong.StartLine, errNoRow)
	}
	return fmt.Errorf("read tokens: %w", err)
}

// errNoRow is of a line that is not what it should be.
var errNoRow = errors.New("a line is user,token")

// add takes a row. What is wrong with it is said without what is in it.
func (f *file) add(row []string, first bool) error {
	switch {
	case len(row) != 2 || row[0] == "":
		return errNoRow
	case first && row[0] == "user" && row[1] == "token":
		return nil
	case f.tokens[row[0]] != "":
		return fmt.Errorf("user %s is there twice", row[0])
	}
	f.tokens[row[0]] = row[1]
	return check(row[1])
}

// Token implements Source.
func (f *file) Token(_ context.Context, user, _ string) (string, error) {
	token, ok := f.tokens[user]
	if !ok {
		return "", fmt.Errorf("%s has no token of %s", f.path, user)
	}
	return token, nil
}
