package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// liveRoom is a call or conference as Calls shows it.
type liveRoom struct {
	RoomID  string     `json:"roomId"`
	CallID  string     `json:"callId,omitempty"`
	Type    RoomType   `json:"roomType"`
	State   string     `json:"state,omitempty"` // of a call
	Creator string     `json:"creator"`
	Since   time.Time  `json:"since"`
	Lost    int        `json:"lost,omitempty"` // steps that are not remembered any more
	Steps   []liveStep `json:"steps"`
}

type liveStep struct {
	After float64 `json:"after"` // seconds from the beginning of the room
	From  string  `json:"from"`
	To    string  `json:"to"`
	What  string  `json:"what"`
	Times int     `json:"times,omitempty"` // in a row, if that is more than one
}

// Calls serves what happens in each live call and conference: as sequence diagrams
// that Mermaid draws and people can read, or with ?format=json as JSON. With
// ?room= or ?call= it is one of them. It shows who talks to whom: whoever serves it
// has to see to it that only administrators can ask.
func (s *Server) Calls() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rooms := s.liveRooms(r.FormValue("room"), r.FormValue("call"))
		w.Header().Set("Cache-Control", "no-store")
		if r.FormValue("format") == "json" {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"rooms": rooms})
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		for i, room := range rooms {
			if i > 0 {
				fmt.Fprintln(w)
			}
			room.draw(w)
		}
	})
}

// liveRooms are the rooms that there are, or those that have these ids.
func (s *Server) liveRooms(roomID, callID string) []liveRoom {
	list := []liveRoom{}
	_, rooms := s.users.everybody()
	for _, r := range rooms {
		if roomID != "" && r.id != roomID || callID != "" && r.callID != callID {
			continue
		}
		list = append(list, r.live())
	}
	return list
}

// live is the room as Calls shows it. Anybody may call it.
func (r *room) live() liveRoom {
	steps, lost := r.trail.list()
	l := liveRoom{RoomID: r.id, CallID: r.callID, Type: r.kind, Creator: r.creator, Since: r.created, Lost: lost, Steps: []liveStep{}}
	if c, ok := r.host.(*call); ok {
		l.State = c.at().String()
	}
	for _, s := range steps {
		one := liveStep{After: s.at.Sub(r.created).Seconds(), From: s.from, To: s.to, What: s.what}
		if s.times > 1 {
			one.Times = s.times
		}
		l.Steps = append(l.Steps, one)
	}
	return l
}

// draw writes the room as a sequence diagram of Mermaid. Comments are what it has
// no place for.
func (l liveRoom) draw(w io.Writer) {
	fmt.Fprintf(w, "%%%% %s room %s", l.Type, plain(l.RoomID))
	if l.CallID != "" {
		fmt.Fprintf(w, ", call %s, %s", plain(l.CallID), l.State)
	}
	fmt.Fprintf(w, ", of %s, since %s\n", plain(l.Creator), l.Since.UTC().Format(time.RFC3339))
	if l.Lost > 0 {
		fmt.Fprintf(w, "%%%% %d earlier steps are not remembered\n", l.Lost)
	}
	fmt.Fprintln(w, "sequenceDiagram")
	names := l.parties()
	for i, name := range names {
		fmt.Fprintf(w, "    participant p%d as %s\n", i, plain(name))
	}
	for _, s := range l.Steps {
		times := ""
		if s.Times > 1 {
			times = fmt.Sprintf(" (%d times)", s.Times)
		}
		fmt.Fprintf(w, "    p%d->>p%d: %s%s at %.3f s\n", slices.Index(names, s.From), slices.Index(names, s.To), plain(s.What), times, s.After)
	}
}

// parties are those who appear: users as they come, server and media server last.
func (l liveRoom) parties() (names []string) {
	for _, s := range l.Steps {
		for _, n := range []string{s.From, s.To} {
			if n != partyServer && n != partyMedia && !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return append(names, partyServer, partyMedia)
}

// plain is text without what Mermaid, or a terminal, takes for something else.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(";#%\"", r) {
			return '_'
		}
		return r
	}, text)
}
