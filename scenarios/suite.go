package scenarios

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

//go:embed suite/*.call
var suite embed.FS

// Suite is the scenarios that come with Callbench, in the order of their names.
func Suite() ([]*Scenario, error) {
	files, err := fs.Glob(suite, "suite/*.call")
	if err != nil {
		return nil, err
	}
	var all []*Scenario
	for _, f := range files {
		s, err := fromSuite(f)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Load finds a scenario: a file by its path, or one of the suite by its name.
func Load(name string) (*Scenario, error) {
	if _, err := os.Stat(name); err == nil {
		return ParseFile(name)
	}
	f := "suite/" + strings.TrimSuffix(name, ".call") + ".call"
	if _, err := fs.Stat(suite, f); err != nil {
		return nil, fmt.Errorf("no file and no scenario of the suite is called %q%s; callbench run -n lists the suite", name, suggest(name, suiteNames()))
	}
	return fromSuite(f)
}

func fromSuite(file string) (*Scenario, error) {
	b, err := suite.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return Parse(path.Base(file), string(b))
}

func suiteNames() []string {
	files, err := fs.Glob(suite, "suite/*.call")
	if err != nil {
		return nil
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".call")
	}
	return files
}
