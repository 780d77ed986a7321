package stack

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// selfDockerfile is an image of nothing but the binary.
const selfDockerfile = "FROM scratch\nCOPY callbench /usr/local/bin/callbench\nWORKDIR /var/lib/callbench\nENTRYPOINT [\"callbench\"]\n"

// self makes an image of the running binary, unless there is one. It must be
// linked statically: the image holds nothing else.
func (e *Engine) self(ctx context.Context) (Image, error) {
	path, err := os.Executable()
	if err != nil {
		return Image{}, fmt.Errorf("find the binary: %w", err)
	}
	if err := static(path); err != nil {
		return Image{}, err
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return Image{}, fmt.Errorf("read the binary: %w", err)
	}
	sum := sha256.Sum256(binary)
	name := "callbench/self:" + hex.EncodeToString(sum[:6])
	if im, err := e.Image(ctx, name); err == nil {
		return im, nil
	}
	if err := e.dropOld(ctx); err != nil {
		return Image{}, err
	}
	folder, err := buildFolder(binary)
	if err != nil {
		return Image{}, err
	}
	built, err := e.api.ImageBuild(ctx, folder, client.ImageBuildOptions{Tags: []string{name}, Labels: map[string]string{selfLabel: "true"}, Remove: true, ForceRemove: true})
	if err != nil {
		return Image{}, fmt.Errorf("make an image of the binary: %w", err)
	}
	said, err := io.ReadAll(built.Body)
	if err := errors.Join(err, built.Body.Close()); err != nil {
		return Image{}, fmt.Errorf("make an image of the binary: %w", err)
	}
	im, err := e.Image(ctx, name)
	if err != nil {
		return Image{}, fmt.Errorf("%w; the engine said: %.500s", err, said)
	}
	return im, nil
}

// selfLabel marks images of a binary, and selfLife is how long one stays: a run that
// has just looked for it may need it yet.
const (
	selfLabel = "org.callbench.self"
	selfLife  = 10 * time.Minute
)

// dropOld removes images of other binaries that nobody uses any more.
func (e *Engine) dropOld(ctx context.Context) error {
	list, err := e.api.ImageList(ctx, client.ImageListOptions{Filters: make(client.Filters).Add("label", selfLabel)})
	if err != nil {
		return fmt.Errorf("look for old images: %w", err)
	}
	for _, im := range list.Items {
		if time.Since(time.Unix(im.Created, 0)) < selfLife {
			continue
		}
		if _, err := e.api.ImageRemove(ctx, im.ID, client.ImageRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			return fmt.Errorf("remove an old image: %w", err)
		}
	}
	return nil
}

// Static tells whether the running binary can be an image by itself; nil if it can.
func Static() error {
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the binary: %w", err)
	}
	return static(path)
}

// static tells whether a binary needs nothing beside itself.
func static(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("read the binary: %w", err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s needs libraries, and so cannot be an image by itself: build it with CGO_ENABLED=0 (make build does), or name an image that has callbench with -image server=NAME", path)
		}
	}
	return nil
}

func buildFolder(binary []byte) (io.Reader, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name string
		mode int64
		data []byte
	}{{"Dockerfile", 0o644, []byte(selfDockerfile)}, {"callbench", 0o755, binary}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	return &b, w.Close()
}
