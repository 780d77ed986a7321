// Package web holds the browser's client of the protocol: ES modules without
// dependencies, which any web or Electron app can take as they are. docs/web.md
// describes them.
package web

import "embed"

// Files are the modules and their types.
//
//go:embed *.js *.d.ts
var Files embed.FS
