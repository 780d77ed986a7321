package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
)

// Engine is the container engine that the environment names: DOCKER_HOST, or
// Docker's own socket.
type Engine struct {
	api     *testcontainers.DockerClient
	Version string
	CPUs    int
}

// ConnectEngine looks whether there is an engine, and what it is.
func ConnectEngine(ctx context.Context) (*Engine, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("media reaches containers over the engine's bridge, which is on Linux only")
	}
	tclog.SetDefault(tclog.NewNoopLogger())
	// Removing what is left is this package's own work: see Start.
	if err := os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true"); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	api, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the container engine: %w", err)
	}
	info, err := api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the container engine: %w", err), api.Close())
	}
	return &Engine{api: api, Version: info.Info.ServerVersion, CPUs: info.Info.NCPU}, nil
}

// Close ends the connection.
func (e *Engine) Close() error { return e.api.Close() }

// Image is what the engine has under a name.
type Image struct {
	Name   string
	ID     string // sha256:…
	Digest string // by which a registry knows it; "" for one that was imported or built
}

// String is the image as reports name it.
func (i Image) String() string {
	if i.Digest != "" {
		return i.Name + "@" + i.Digest
	}
	return i.Name + ", id " + i.ID
}

// Image looks for an image in the engine.
func (e *Engine) Image(ctx context.Context, name string) (Image, error) {
	got, err := e.api.ImageInspect(ctx, name)
	if err != nil {
		return Image{}, fmt.Errorf("the engine has no image %s: %w", name, err)
	}
	im := Image{Name: name, ID: got.ID}
	for _, d := range got.RepoDigests {
		if _, digest, ok := strings.Cut(d, "@"); ok {
			im.Digest = digest
		}
	}
	return im, nil
}

// Fetch is Image, and pulls what is not there.
func (e *Engine) Fetch(ctx context.Context, name string) (Image, error) {
	if im, err := e.Image(ctx, name); err == nil {
		return im, nil
	}
	pull, err := e.api.ImagePull(ctx, name, client.ImagePullOptions{})
	if err == nil {
		_, err = io.Copy(io.Discard, pull)
		err = errors.Join(err, pull.Close())
	}
	if err != nil {
		return Image{}, fmt.Errorf("the engine has no image %s, and it cannot be pulled: %w", name, err)
	}
	return e.Image(ctx, name)
}
