package store_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	mysqlparser "github.com/pingcap/tidb/pkg/parser"
	_ "github.com/pingcap/tidb/pkg/parser/test_driver" // of its literals
)

// TestSQL parses every statement and migration as MySQL does: the tests run with
// MariaDB, and what only that understands must not slip in.
func TestSQL(t *testing.T) {
	all := constants(t)
	if len(all) < 20 {
		t.Fatalf("only %d statements were found", len(all))
	}
	for name, text := range all {
		if err := parseMySQL(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	files, err := filepath.Glob("migrations/*.sql")
	must(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		must(t, err)
		if err := parseMySQL(string(text)); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	for _, foreign := range []string{
		"INSERT INTO rooms (roomId) VALUES (?) RETURNING id", // MariaDB
		"CREATE TABLE a (b UUID)",                            // MariaDB
		"CREATE OR REPLACE TABLE a (b INT)",                  // MariaDB
		"INSERT INTO a VALUES (1) ON CONFLICT DO NOTHING",    // PostgreSQL, SQLite
	} {
		if parseMySQL(foreign) == nil {
			t.Errorf("the parser takes %s", foreign)
		}
	}
}

func parseMySQL(text string) error {
	_, _, err := mysqlparser.New().Parse(text, "", "")
	return err
}

// constants are the package's constants whose names begin with sql.
func constants(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	files, err := filepath.Glob("*.go")
	must(t, err)
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, "sql") {
				return true
			}
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			must(t, err)
			all[spec.Names[0].Name] = text
			return true
		})
	}
	return all
}
