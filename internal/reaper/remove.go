package reaper

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// Remove removes the containers, with their anonymous volumes, networks and volumes
// that carry a label, running and paused ones too, and returns how many it found.
func Remove(ctx context.Context, api *client.Client, label string) (found int, err error) {
	marked := make(client.Filters).Add("label", label)
	containers, err := api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: marked})
	if err != nil {
		return 0, fmt.Errorf("look for containers: %w", err)
	}
	var errs []error
	for _, c := range containers.Items {
		_, err := api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		errs = append(errs, failed("container", c.ID, err))
	}
	networks, err := api.NetworkList(ctx, client.NetworkListOptions{Filters: marked})
	errs = append(errs, err)
	for _, n := range networks.Items {
		_, err := api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		errs = append(errs, failed("network", n.ID, err))
	}
	volumes, err := api.VolumeList(ctx, client.VolumeListOptions{Filters: marked})
	errs = append(errs, err)
	for _, v := range volumes.Items {
		_, err := api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{Force: true})
		errs = append(errs, failed("volume", v.Name, err))
	}
	return len(containers.Items) + len(networks.Items) + len(volumes.Items), errors.Join(errs...)
}

// failed is the error of a removal, unless somebody else was faster.
func failed(what, id string, err error) error {
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("remove %s %.12s: %w", what, id, err)
}
