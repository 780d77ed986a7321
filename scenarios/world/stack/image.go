package stack

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Parts of the system that run in containers.
const (
	Kurento = "kurento"
	Coturn  = "coturn"
	Redis   = "redis"
	MySQL   = "mysql"
	HAProxy = "haproxy"
	Server  = "server"
)

// PartNames lists the parts in the order in which they need each other.
func PartNames() []string { return []string{Kurento, Coturn, Redis, MySQL, Server, HAProxy} }

// official are the images that the parts run from if nobody says otherwise. The
// server's is made of the running binary.
func official() map[string]string {
	return map[string]string{Kurento: "kurento/kurento-media-server:7.3.0", Coturn: "coturn/coturn:4.6.2", Redis: "redis:7", MySQL: "mysql:8",
		HAProxy: "haproxy:2.6"}
}

// standIns are what may take a part's place, by its name, and its image: "" is the
// server's own.
func standIns() map[string]map[string]string {
	return map[string]map[string]string{Kurento: {"kmsmock": ""}, MySQL: {"mariadb": "callbench/mariadb"}}
}

// Images says which image each part runs from.
type Images struct {
	names  map[string]string
	stands map[string]string
}

// imagePrefix begins the names of the environment's variables: CALLBENCH_IMAGE_REDIS
// and so on, and CALLBENCH_IMAGE_MIRROR.
const imagePrefix = "CALLBENCH_IMAGE_"

// ChooseImages reads the images from what the user says, part=image, from the
// environment, and what is left from the official ones, behind the mirror's prefix
// if there is one. stands has what takes a part's place by the user's wish,
// part=name.
func ChooseImages(given, stands []string, env func(string) string) (Images, error) {
	said, err := pairs("-image", given)
	if err != nil {
		return Images{}, err
	}
	asked, err := pairs("-stand-in", stands)
	if err != nil {
		return Images{}, err
	}
	im := Images{names: map[string]string{}, stands: asked}
	for part, what := range asked {
		if _, ok := standIns()[part][what]; !ok {
			return Images{}, fmt.Errorf("-stand-in %s=%s: what can stand in is %s", part, what, possible())
		}
	}
	for _, part := range PartNames() {
		im.names[part] = im.choose(part, said[part], env)
	}
	return im, nil
}

func (im Images) choose(part, said string, env func(string) string) string {
	if said != "" {
		return said
	}
	if v := env(imagePrefix + strings.ToUpper(part)); v != "" {
		return v
	}
	if what := im.stands[part]; what != "" {
		return standIns()[part][what]
	}
	name := official()[part]
	if mirror := env(imagePrefix + "MIRROR"); mirror != "" && name != "" {
		name = strings.TrimSuffix(mirror, "/") + "/" + name
	}
	return name
}

// Of is the image of a part; "" is one of the running binary.
func (im Images) Of(part string) string { return im.names[part] }

// StandIn is what takes a part's place, "" if nothing does.
func (im Images) StandIn(part string) string { return im.stands[part] }

// pairs reads part=value words.
func pairs(flag string, words []string) (map[string]string, error) {
	out := map[string]string{}
	for _, w := range words {
		part, value, ok := strings.Cut(w, "=")
		if !ok || value == "" || !slices.Contains(PartNames(), part) {
			return nil, fmt.Errorf("%s %s is not part=name, where parts are %s", flag, w, strings.Join(PartNames(), ", "))
		}
		out[part] = value
	}
	return out, nil
}

func possible() string {
	var all []string
	for _, part := range slices.Sorted(maps.Keys(standIns())) {
		for _, what := range slices.Sorted(maps.Keys(standIns()[part])) {
			all = append(all, part+"="+what)
		}
	}
	return strings.Join(all, ", ")
}
