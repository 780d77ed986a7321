// Package github is Callbench in the CI of others: an action, and the repository
// that a team keeps its own scenarios in.
package github

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed all:template
var template embed.FS

// Write makes the template's files below a folder, which is made if it is not there,
// and tells their paths there. It replaces none: if one is there already it writes
// nothing.
func Write(dir string) (paths []string, err error) {
	files, err := fs.Sub(template, "template")
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if _, err := os.Lstat(filepath.Join(dir, path)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already", filepath.Join(dir, path))
		}
		paths = append(paths, path)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if err := write(files, path, filepath.Join(dir, path)); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

func write(files fs.FS, path, to string) error {
	text, err := fs.ReadFile(files, path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}
