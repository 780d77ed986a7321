package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// envPrefix begins the names of environment variables: -log-level is
// CALLBENCH_LOG_LEVEL.
const envPrefix = "CALLBENCH_"

// BeforeResolve reads the configuration file before flags get their values. A flag
// counts before the environment, and that before the file.
func (c *serveCmd) BeforeResolve(ctx *kong.Context) error {
	flags := serveFlags(ctx.Model)
	path, _ := ctx.FlagValue(flags["config"]).(string)
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("-config: %w", err)
	}
	values, err := parseConfig(text, flags)
	if err != nil {
		return fmt.Errorf("-config %s: %w", path, err)
	}
	ctx.AddResolver(values)
	return nil
}

// serveFlags are the flags of `callbench serve`, by name.
func serveFlags(app *kong.Application) map[string]*kong.Flag {
	flags := make(map[string]*kong.Flag)
	for _, command := range app.Children {
		if command.Name == "serve" {
			for _, f := range command.Flags {
				flags[f.Name] = f
			}
		}
	}
	return flags
}

// configValues are what a configuration file says, by flag, as a command line
// would say it.
type configValues map[string]string

// Validate implements kong.Resolver. The file was checked when it was read.
func (configValues) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver.
func (v configValues) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, set := os.LookupEnv(env); set {
			return nil, nil
		}
	}
	if value, ok := v[flag.Name]; ok {
		return value, nil
	}
	return nil, nil
}

// parseConfig reads YAML, and so JSON, which is YAML: names of flags with their
// values. Every mistake is told with its line.
func parseConfig(text []byte, flags map[string]*kong.Flag) (configValues, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	values := configValues{}
	if len(doc.Content) == 0 {
		return values, nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, errors.New("it must hold names and values, such as listen: 127.0.0.1:8080")
	}
	var errs []error
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		text, err := configValue(key.Value, value, flags)
		if _, twice := values[key.Value]; twice {
			err = errors.New("is there twice")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %s %w", key.Line, key.Value, err))
		}
		values[key.Value] = text
	}
	return values, errors.Join(errs...)
}

// configValue is a value as a command line would have it.
func configValue(name string, value *yaml.Node, flags map[string]*kong.Flag) (string, error) {
	flag := flags[name]
	switch {
	case flag == nil || name == "config" || name == "help":
		return "", errors.New("is no setting" + meant(name, flags))
	case value.Kind == yaml.ScalarNode && value.Tag != "!!null":
		return value.Value, nil
	case value.Kind == yaml.SequenceNode && flag.IsSlice():
		var list []string
		for _, item := range value.Content {
			if item.Kind != yaml.ScalarNode {
				return "", errors.New("must be a list of plain values")
			}
			list = append(list, item.Value)
		}
		return kong.JoinEscaped(list, flag.Tag.Sep), nil
	case flag.IsSlice():
		return "", errors.New("must be a value or a list of values")
	}
	return "", errors.New("must be one value")
}

// meant guesses which setting somebody had in mind: one that has most of the
// letters in common.
func meant(name string, flags map[string]*kong.Flag) string {
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s)) }
	var near []string
	for f := range flags {
		a, b := plain(name), plain(f)
		if a == b || len(a) > 3 && (strings.Contains(b, a) || strings.Contains(a, b) && len(b) > 3) || distance(a, b) <= 2 {
			near = append(near, f)
		}
	}
	if len(near) == 0 {
		return "; docs/configuration.md and `callbench help serve` list them"
	}
	slices.Sort(near)
	return ": did you mean " + strings.Join(near, " or ") + "?"
}

// distance is how many letters have to be changed, put in or taken out to make b of
// a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}
