package reaper

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

const idleImage = "callbench/test-idle"

// engine is the environment's, with an image in it whose containers do nothing.
func engine(t *testing.T) (*client.Client, string) {
	t.Helper()
	api, err := connect("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := api.Ping(t.Context(), client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		t.Skipf("no container engine answers: %v", err)
	}
	made, err := api.ImageImport(t.Context(), client.ImageImportSource{Source: idle(t), SourceName: "-"}, idleImage, client.ImageImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, made); err != nil {
		t.Fatal(err)
	}
	return api, idleImage
}

// idle is an archive of the one binary.
func idle(t *testing.T) io.Reader {
	t.Helper()
	path := filepath.Join(t.TempDir(), "idle")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "./testdata/idle")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "idle", Mode: 0o755, Size: int64(len(binary))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(binary); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// works is what is made in the engine with one label.
type works struct {
	api   *client.Client
	image string
	label string
}

func (w works) labels() map[string]string {
	key, value, _ := strings.Cut(w.label, "=")
	return map[string]string{key: value}
}

// oneOfEach makes a network, a volume, a container that runs in the network, one
// that is paused in it, and one that never ran.
func (w works) oneOfEach(ctx context.Context) error {
	net, err := w.api.NetworkCreate(ctx, strings.ReplaceAll(w.label, "=", "-"), client.NetworkCreateOptions{Labels: w.labels()})
	if err != nil {
		return err
	}
	if _, err := w.api.VolumeCreate(ctx, client.VolumeCreateOptions{Labels: w.labels()}); err != nil {
		return err
	}
	if _, err := w.container(ctx, net.ID); err != nil {
		return err
	}
	paused, err := w.container(ctx, net.ID)
	if err != nil {
		return err
	}
	if _, err := w.api.ContainerPause(ctx, paused, client.ContainerPauseOptions{}); err != nil {
		return err
	}
	_, err = w.create(ctx, "")
	return err
}

// container starts one, in a network if there is one.
func (w works) container(ctx context.Context, net string) (string, error) {
	id, err := w.create(ctx, net)
	if err != nil {
		return "", err
	}
	_, err = w.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
	return id, err
}

func (w works) create(ctx context.Context, net string) (string, error) {
	options := client.ContainerCreateOptions{
		Config: &container.Config{Image: w.image, Cmd: []string{"/idle"}, Labels: w.labels(), Volumes: map[string]struct{}{"/data": {}}},
	}
	if net != "" {
		options.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{net: {}}}
		options.HostConfig = &container.HostConfig{NetworkMode: container.NetworkMode(net)}
	}
	made, err := w.api.ContainerCreate(ctx, options)
	return made.ID, err
}

// tidy removes what a test that failed has left.
func (w works) tidy(t *testing.T) {
	t.Cleanup(func() {
		if _, err := Remove(context.Background(), w.api, w.label); err != nil {
			t.Error(err)
		}
	})
}

// count counts what carries the label.
func (w works) count(t *testing.T) int {
	t.Helper()
	marked := make(client.Filters).Add("label", w.label)
	containers, err := w.api.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: marked})
	if err != nil {
		t.Fatal(err)
	}
	networks, err := w.api.NetworkList(t.Context(), client.NetworkListOptions{Filters: marked})
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := w.api.VolumeList(t.Context(), client.VolumeListOptions{Filters: marked})
	if err != nil {
		t.Fatal(err)
	}
	return len(containers.Items) + len(networks.Items) + len(volumes.Items)
}

// anonymous are the names of the volumes that containers with the label have by
// themselves.
func (w works) anonymous(t *testing.T) []string {
	t.Helper()
	list, err := w.api.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", w.label)})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range list.Items {
		for _, m := range c.Mounts {
			names = append(names, m.Name)
		}
	}
	return names
}
