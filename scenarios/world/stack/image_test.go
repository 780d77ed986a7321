package stack

import (
	"strings"
	"testing"
)

func TestChooseImages(t *testing.T) {
	env := map[string]string{"CALLBENCH_IMAGE_REDIS": "here/redis:1", "CALLBENCH_IMAGE_MIRROR": "mirror.example/hub/", "CALLBENCH_IMAGE_COTURN": "here/coturn"}
	im, err := ChooseImages([]string{"coturn=mine/coturn:2"}, []string{"kurento=kmsmock", "mysql=mariadb"}, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]string{
		Coturn: "mine/coturn:2", Redis: "here/redis:1", HAProxy: "mirror.example/hub/haproxy:2.6", Kurento: "", MySQL: "callbench/mariadb", Server: "",
	} {
		if got := im.Of(part); got != want {
			t.Errorf("image of %s is %q, want %q", part, got, want)
		}
	}
	if im.StandIn(Kurento) != "kmsmock" || im.StandIn(Redis) != "" {
		t.Errorf("stand-ins are %q and %q", im.StandIn(Kurento), im.StandIn(Redis))
	}
}

// A stand-in's image can be named as any other; the official image is pinned.
func TestImagesOfNobodysWish(t *testing.T) {
	none := func(string) string { return "" }
	im, err := ChooseImages(nil, nil, none)
	if err != nil {
		t.Fatal(err)
	}
	if im.Of(Kurento) != "kurento/kurento-media-server:7.3.0" {
		t.Errorf("the media server is %q", im.Of(Kurento))
	}
	im, err = ChooseImages([]string{"mysql=db:1"}, []string{"mysql=mariadb"}, none)
	if err != nil || im.Of(MySQL) != "db:1" {
		t.Errorf("the database is %q, %v", im.Of(MySQL), err)
	}
}

func TestImagesRefused(t *testing.T) {
	for _, c := range []struct {
		given, stands []string
		want          string
	}{
		{given: []string{"redis"}, want: "-image redis is not part=name"},
		{given: []string{"postgres=x"}, want: "parts are kurento"},
		{stands: []string{"redis=miniredis"}, want: "what can stand in is kurento=kmsmock, mysql=mariadb"},
		{stands: []string{"kurento=janus"}, want: "what can stand in is"},
	} {
		if _, err := ChooseImages(c.given, c.stands, func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %v: %v, want %q", c.given, c.stands, err, c.want)
		}
	}
}
