package keys

import (
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/callbench/callbench/server"
)

// File is a key set that is kept in a file. It implements server.Keys, and looks
// at the file for every token: one that was replaced counts from then on. A file
// that cannot be read, or holds no key set, changes nothing, so that a mistake
// in it locks nobody out.
type File struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex
	info os.FileInfo // of what was read last
	keys []server.Key
	sick string // what is wrong with the file, as it was logged
}

// Open reads the file. Later changes are told to log, which may be nil.
func Open(path string, log *slog.Logger) (*File, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &File{path: path, log: log}
	if _, err := f.load(); err != nil {
		return nil, err
	}
	return f, nil
}

// Keys implements server.Keys.
func (f *File) Keys() []server.Key {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch changed, err := f.load(); {
	case err != nil && err.Error() != f.sick:
		f.sick = err.Error()
		f.log.Error("keys.failed", "error", err.Error())
	case changed:
		f.sick = ""
		f.log.Info("keys.changed", "file", f.path, "keys", len(f.keys))
	}
	return f.keys
}

// load reads the file if it changed. f.mu is held, or nobody else has f.
func (f *File) load() (changed bool, err error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return false, fmt.Errorf("key set: %w", err)
	}
	if f.info != nil && os.SameFile(info, f.info) && info.ModTime().Equal(f.info.ModTime()) && info.Size() == f.info.Size() {
		return false, nil
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return false, fmt.Errorf("key set: %w", err)
	}
	keys, err := Parse(text)
	if err != nil {
		return false, fmt.Errorf("key set %s: %w", f.path, err)
	}
	f.info, f.keys = info, keys
	return true, nil
}
