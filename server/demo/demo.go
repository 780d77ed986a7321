// Package demo is a page on which two browser tabs call each other through the
// signaling server that serves it.
package demo

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
)

//go:embed page
var files embed.FS

// User is somebody whom a tab can be. The page gets the token, so it is for
// demo users on a machine of one's own only.
type User struct {
	Name  string `json:"name"`
	Token string `json:"token"` // JSON Web Token, as the product's login service would give it
}

// Handler serves the page, and the users that it offers as users.json. users
// is asked for each request, because tokens run out.
func Handler(users func() ([]User, error)) http.Handler {
	page, err := fs.Sub(files, "page")
	if err != nil { // the folder is part of the binary
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", noStore(http.FileServerFS(page)))
	mux.HandleFunc("GET /users.json", func(w http.ResponseWriter, _ *http.Request) {
		list, err := users()
		if err != nil {
			http.Error(w, "no tokens can be made", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(list) // a tab that went away needs no answer
	})
	return mux
}

// noStore keeps an old page from meeting a new server, and the page from
// loading anything from elsewhere.
func noStore(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; media-src 'self' blob: mediastream:")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		h.ServeHTTP(w, r)
	})
}
