package scenarios

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
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
		s, err := parseIn(suite, f)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Load finds a scenario: a file by its path, or one of the suite by its name.
func Load(name string) (*Scenario, error) {
	if info, err := os.Stat(name); err == nil && !info.IsDir() {
		return ParseFile(name)
	}
	plain := strings.TrimSuffix(name, ".call")
	if contains(gateNames(), plain) {
		return parseIn(gate, "gate/"+plain+".call")
	}
	f := "suite/" + plain + ".call"
	if _, err := fs.Stat(suite, f); err != nil {
		return nil, fmt.Errorf("no file and no scenario of the suite is called %q%s; callbench run -n lists the suite", name, suggest(name, suiteNames()))
	}
	return parseIn(suite, f)
}

// Find gives the scenarios that names stand for, checked and ready to be played,
// with one for each case: a file by its path or one of the suite by its name, as
// Load has them, all files of a folder, or a single case of either by the name that reports give it,
// such as lossy/loss=10. Without a name it is the whole suite.
func Find(names ...string) ([]*Scenario, error) {
	var list []*Scenario
	if len(names) == 0 {
		names = suiteNames()
	}
	for _, name := range names {
		found, err := find(name)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

func find(name string) ([]*Scenario, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return findIn(name)
	}
	file, wanted := cutCase(name)
	s, err := Load(file)
	if err != nil {
		return nil, err
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	if wanted == "" {
		return s.Expand()
	}
	one, err := s.Case(s.Name + "/" + wanted)
	if err != nil {
		return nil, err
	}
	return []*Scenario{one}, nil
}

// findIn gives the scenarios of a folder, in the order of their names.
func findIn(dir string) (list []*Scenario, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if f.IsDir() || !strings.HasSuffix(f.Name(), ".call") {
			continue
		}
		found, err := find(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s holds no scenario: a file whose name ends in .call", dir)
	}
	return list, nil
}

// cutCase splits the name of a case behind that of its file.
func cutCase(name string) (file, wanted string) {
	for i, c := range name {
		if c == '/' && strings.Contains(name[i:], "=") && known(name[:i]) {
			return name[:i], name[i+1:]
		}
	}
	return name, ""
}

// known reports whether a scenario can be loaded by this name.
func known(name string) bool {
	info, err := os.Stat(name)
	return err == nil && !info.IsDir() || contains(append(suiteNames(), gateNames()...), strings.TrimSuffix(name, ".call"))
}

func parseIn(folder embed.FS, file string) (*Scenario, error) {
	b, err := folder.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return Parse(path.Base(file), string(b))
}

func suiteNames() []string { return namesIn(suite, "suite") }

// namesIn are the scenarios of a folder, in the order of their names.
func namesIn(folder embed.FS, name string) []string {
	files, err := fs.Glob(folder, name+"/*.call")
	if err != nil {
		return nil
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".call")
	}
	return files
}
