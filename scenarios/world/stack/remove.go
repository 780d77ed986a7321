package stack

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/moby/client"

	"github.com/callbench/callbench/internal/reaper"
)

// removeLimit is how long removing everything may take.
const removeLimit = time.Minute

// removeAll removes containers, networks and volumes that carry the run's label.
func (s *Stack) removeAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), removeLimit)
	defer cancel()
	_, err := reaper.Remove(ctx, s.engine.api.Client, Label+"="+s.run)
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
func (s *Stack) guard(ctx context.Context) (err error) {
	s.watch, err = reaper.Start(ctx, "", Label+"="+s.run)
	return err
}
