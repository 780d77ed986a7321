package kmsmock

import (
	"cmp"
	"maps"
	"runtime"
	"slices"
	"time"
)

// version is the Kurento Media Server that this package imitates.
const version = "7.3.0"

// managerID is the id of the only object that every server has.
const managerID = "manager_ServerManager"

func newManager(s *Server) *mediaObject {
	o := &mediaObject{
		srv: s, id: managerID, class: s.model.byName["ServerManager"], created: time.Now(),
		children: map[string]*mediaObject{}, holders: map[string]bool{}, tags: map[string]string{},
		props: map[string]value{}, subs: map[string][]*subscription{},
	}
	o.fillDefaults()
	s.objects[o.id] = o
	return o
}

// generationTimes are fixed, so that a server's answers depend on its seed only.
var generationTimes = map[string]string{
	"core": "Nov 22 2026 19:08:01", "elements": "Nov 22 2026 19:10:59", "filters": "Nov 22 2026 19:17:22",
}

func serverInfo(o *mediaObject) (value, error) {
	modules := array{}
	for _, name := range moduleNames {
		modules = append(modules, kurentoStruct("ModuleInfo", object{
			"name": name, "version": version, "generationTime": generationTimes[name], "factories": o.srv.model.factories(name),
		}))
	}
	return kurentoStruct("ServerInfo", object{
		"capabilities": []string{"transactions"}, "modules": modules, "type": "KMS", "version": version,
	}), nil
}

func serverPipelines(o *mediaObject) (value, error) {
	ids := []string{}
	for id, p := range o.srv.objects {
		if p.class.name == "MediaPipeline" && len(p.holders) > 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// serverSessions imitates a bug of Kurento: as many empty strings as there are
// sessions come before their ids.
func serverSessions(o *mediaObject) (value, error) {
	ids := slices.Sorted(maps.Keys(o.srv.sessions))
	return append(make([]string, len(ids)), ids...), nil
}

func getCPUCount(*call) (value, error) { return runtime.NumCPU(), nil }

// getUsedCPU blocks its connection for the interval, as Kurento does.
func getUsedCPU(c *call) (value, error) {
	interval, _ := c.args["interval"].(int64)
	if interval <= 0 {
		return nil, nil // not a number
	}
	c.srv.wait(time.Duration(interval) * time.Millisecond)
	return 0.0, nil
}

// getUsedMemory is in kB.
func getUsedMemory(*call) (value, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys / 1024), nil
}

func addTag(c *call) (value, error) {
	c.obj.tags[c.str("key")] = c.str("value")
	return nil, nil
}

func getTag(c *call) (value, error) {
	v, ok := c.obj.tags[c.str("key")]
	if !ok {
		return nil, failf(40110, "MEDIA_OBJECT_TAG_KEY_NOT_FOUND", "Tag key not found")
	}
	return v, nil
}

func removeTag(c *call) (value, error) {
	delete(c.obj.tags, c.str("key"))
	return nil, nil
}

func doNothing(*call) (value, error) { return nil, nil }

// gstreamerDot is a graph in the DOT language; there is no GStreamer here, so
// it shows the objects and their connections.
func gstreamerDot(c *call) (value, error) {
	out := "digraph pipeline {\n  rankdir=LR;\n  fontname=\"sans\";\n"
	members := append([]*mediaObject{c.obj}, c.obj.sortedChildren()...)
	slices.SortFunc(members, func(a, b *mediaObject) int { return cmp.Compare(a.serial, b.serial) })
	for _, m := range members {
		out += "  \"" + m.id + "\" [label=\"" + m.class.name + "\"];\n"
		if e := elementOf(m); e != nil {
			for _, l := range e.links() {
				out += "  \"" + m.id + "\" -> \"" + l.sink.obj.id + "\" [label=\"" + l.kind.String() + "\"];\n"
			}
		}
	}
	return out + "}\n", nil
}
