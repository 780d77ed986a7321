package stack

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/callbench/callbench/kmsmock"
	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/simclient/media"
)

// folder are the files of a media server whose root a folder stands for, or that
// runs on this machine.
type folder string

func (f folder) put(_ context.Context, path string, data []byte) error {
	path = filepath.Join(string(f), path)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

func (f folder) get(_ context.Context, path string) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(f), path))
}

func dialKurento(t *testing.T, url string) *kurento.Client {
	t.Helper()
	c, err := kurento.Dial(t.Context(), kurento.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A mock passes media on, and cannot prove itself.
func TestMockCannotProveItself(t *testing.T) {
	root := folder(t.TempDir())
	kms := kmsmock.Start(t, func(c *kmsmock.Config) { c.FileRoot = string(root) })
	if err := prove(t.Context(), dialKurento(t, kms.URL()), root, "/recordings"); !errors.Is(err, errNoPicture) {
		t.Errorf("the mock's proof: %v, want %v", err, errNoPicture)
	}
}

// A recording of somebody else's pictures, even turned, proves nothing; nor does
// one's own that is not turned.
func TestPictureIsOnesOwn(t *testing.T) {
	id := media.Identity{Call: "a call", Participant: "alice"}
	data, err := proofClip(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := turned(data, id); !errors.Is(err, errNoPicture) {
		t.Errorf("a clip that nobody turned: %v", err)
	}
	if err := turned([]byte("no clip"), id); err == nil {
		t.Error("what is no clip proves something")
	}
}

func TestTagOf(t *testing.T) {
	for name, want := range map[string]string{"kurento/kurento-media-server:7.3.0": "7.3.0", "mirror:5000/kurento": "", "mirror:5000/kurento:7@sha256:0": "7", "redis": ""} {
		if got := tagOf(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// What a real Kurento makes of the pictures is believed.
func TestServiceKurentoProvesItself(t *testing.T) {
	address := os.Getenv("CALLBENCH_KMS_URL")
	u, err := url.Parse(address)
	if address == "" || err != nil || u.Hostname() != "127.0.0.1" {
		t.Skip("CALLBENCH_KMS_URL names no real Kurento on this machine")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil { // the media server may be another user
		t.Fatal(err)
	}
	if err := prove(t.Context(), dialKurento(t, address), folder("/"), dir); err != nil {
		t.Error(err)
	}
}
