package stack

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/image/vp8"

	"github.com/callbench/callbench/kmsmock/clip"
	"github.com/callbench/callbench/kurento"
	"github.com/callbench/callbench/simclient/media"
)

// proofLength is how much of the clip is played for a proof, and proofLimit how
// long it may take.
const (
	proofLength = 2 * time.Second
	proofLimit  = 30 * time.Second
)

// errNoPicture is what somebody gets who passes media on as it came.
var errNoPicture = errors.New("the picture that it was to turn came back unturned, or not at all")

// files are those of the media server's machine.
type files interface {
	put(ctx context.Context, path string, data []byte) error
	get(ctx context.Context, path string) ([]byte, error)
}

// prove lets a media server do what only a real one can: it decodes a clip, turns
// its pictures upside down and codes them again. In the pictures is a code that
// nobody knew before. folder is where it reads and writes files.
func prove(ctx context.Context, c *kurento.Client, f files, folder string) error {
	ctx, cancel := context.WithTimeout(ctx, proofLimit)
	defer cancel()
	id := media.Identity{Call: rand.Text(), Participant: rand.Text()}
	source, err := proofClip(id)
	if err != nil {
		return err
	}
	name := folder + "/proof-" + strings.ToLower(rand.Text()[:8])
	if err := f.put(ctx, name+".webm", source); err != nil {
		return fmt.Errorf("put a clip where it can be played: %w", err)
	}
	if err := turnPicture(ctx, c, "file://"+name); err != nil {
		return err
	}
	made, err := f.get(ctx, name+"-turned.webm")
	if err != nil {
		return fmt.Errorf("read what it recorded: %w", err)
	}
	return turned(made, id)
}

// turnFilter turns pictures by half a circle. The property method, which does the
// same, is without effect in a Kurento on GStreamer 1.22.
const turnFilter = "videoflip video-direction=2"

// turnPicture plays a clip through a filter that turns its pictures into a recorder.
func turnPicture(ctx context.Context, c *kurento.Client, name string) (err error) {
	pipeline, err := c.CreateMediaPipeline(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pipeline.Release(ctx)) }()
	player, err := c.Create(ctx, "PlayerEndpoint", map[string]any{"mediaPipeline": pipeline.ID(), "uri": name + ".webm"})
	if err != nil {
		return err
	}
	filter, err := c.Create(ctx, "GStreamerFilter", map[string]any{"mediaPipeline": pipeline.ID(), "command": turnFilter, "filterType": "VIDEO"})
	if err != nil {
		return err
	}
	recorder, err := pipeline.CreateRecorderEndpoint(ctx, name+"-turned.webm", kurento.ProfileWebMVideo)
	if err != nil {
		return err
	}
	over := make(chan struct{}, 1)
	ended := func(kurento.Event) {
		select {
		case over <- struct{}{}:
		default:
		}
	}
	if _, err := c.Subscribe(ctx, player, ended, "EndOfStream", "Error"); err != nil {
		return err
	}
	for _, wire := range [][2]kurento.ObjectID{{player, filter}, {filter, recorder.ID()}} {
		if err := (kurento.MediaElement{Object: c.Object(wire[0])}).Connect(ctx, wire[1], kurento.Video); err != nil {
			return err
		}
	}
	if err := recorder.Record(ctx); err != nil {
		return err
	}
	if err := c.Invoke(ctx, player, "play", nil, nil); err != nil {
		return err
	}
	select {
	case <-over:
	case <-ctx.Done():
		return fmt.Errorf("it did not play a clip of %v to its end: %w", proofLength, ctx.Err())
	}
	return recorder.StopAndWait(ctx)
}

// proofClip is a file whose pictures tell who sends them.
func proofClip(id media.Identity) ([]byte, error) {
	frames := media.NewBarcodeClipOf(id, 0)
	first, _ := frames.Unit(0)
	width, height := clip.Size(clip.VP8, first)
	out := new(memory)
	w, err := clip.NewWriter(out, clip.WebM, []clip.Track{{Codec: clip.VP8, Width: width, Height: height}}, [][]byte{first})
	if err != nil {
		return nil, err
	}
	for i := 0; frames.Offset(int64(i)) < proofLength; i++ {
		data, key := frames.Unit(i % frames.Len())
		if err := w.Write(clip.Frame{At: frames.Offset(int64(i)), Key: key, Data: data}); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.data, nil
}

// RecordingsFolder is where recordings are, in the media server's container.
const RecordingsFolder = "/recordings"

// Prove lets the media server prove that it is a real Kurento, which says of itself
// that it is of the version that its image is tagged with, and that its container
// runs from the image of that name. digest, if there is one, is what the image's
// must be: that of a registry, or its id.
func (s *Stack) Prove(ctx context.Context, digest string) error {
	p, err := s.Part(Kurento)
	if err != nil {
		return fmt.Errorf("only a media server in a container can be proven to be one: %w", err)
	}
	if err := p.isFrom(ctx, digest); err != nil {
		return err
	}
	return withKurento(ctx, p.kurentoURL(), func(c *kurento.Client) error {
		if err := prove(ctx, c, p, RecordingsFolder); err != nil {
			return fmt.Errorf("%s, %s, is no real Kurento: %w", p.name, p.spec.image, err)
		}
		return nil
	})
}

// isFrom compares what runs with the image that was asked for.
func (p *Part) isFrom(ctx context.Context, digest string) error {
	image := p.spec.image
	now, err := p.stack.engine.Image(ctx, image.Name)
	if err != nil {
		return err
	}
	box, err := p.box.Inspect(ctx)
	if err != nil {
		return fmt.Errorf("look at the container of %s: %w", p.name, err)
	}
	if box.Image != now.ID {
		return fmt.Errorf("%s runs from image %s, and %s is %s", p.name, box.Image, image.Name, now.ID)
	}
	if digest != "" && digest != now.ID && digest != now.Digest {
		return fmt.Errorf("the image of %s, %s, is not that of digest %s", p.name, now, digest)
	}
	if tag := tagOf(image.Name); tag != p.version {
		return fmt.Errorf("%s says that it is version %q, and its image's tag is %q (%s)", p.name, p.version, tag, image.Name)
	}
	return nil
}

// tagOf is the tag in an image's name, "" if there is none.
func tagOf(name string) string {
	name, _, _ = strings.Cut(name, "@")
	rest := name[strings.LastIndexByte(name, '/')+1:]
	_, tag, _ := strings.Cut(rest, ":")
	return tag
}

// put implements files.
func (p *Part) put(ctx context.Context, path string, data []byte) error {
	return p.box.CopyToContainer(ctx, data, path, 0o644)
}

// get implements files.
func (p *Part) get(ctx context.Context, path string) ([]byte, error) {
	r, err := p.box.CopyFileFromContainer(ctx, path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// Recording reads a file of the recordings' folder. The error is fs.ErrNotExist if
// there is none.
func (s *Stack) Recording(ctx context.Context, path string) ([]byte, error) {
	b, err := s.ServerParts()[0].get(ctx, RecordingsFolder+"/"+path)
	if errdefs.IsNotFound(err) {
		return nil, fs.ErrNotExist
	}
	return b, err
}

// turned tells whether a recording has the sender's pictures in it, upside down.
func turned(recording []byte, id media.Identity) error {
	c, err := clip.Read(recording)
	if err != nil {
		return fmt.Errorf("read what it recorded: %w", err)
	}
	var scanner media.Scanner
	for _, f := range c.Frames {
		if !f.Key {
			continue
		}
		img, err := decode(f.Data)
		if err != nil {
			continue // of another codec, which a pass-through may have
		}
		for _, seen := range scanner.Scan(upsideDown(img)) {
			if seen.Names(id) {
				return nil
			}
		}
	}
	return errNoPicture
}

func decode(frame []byte) (*image.YCbCr, error) {
	d := vp8.NewDecoder()
	d.Init(bytes.NewReader(frame), len(frame))
	if _, err := d.DecodeFrameHeader(); err != nil {
		return nil, err
	}
	return d.DecodeFrame()
}

// upsideDown is a picture's light, turned by half a circle.
func upsideDown(img *image.YCbCr) *image.Gray {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	out := image.NewGray(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			out.Pix[(h-1-y)*out.Stride+w-1-x] = img.Y[y*img.YStride+x]
		}
	}
	return out
}

// memory is a file of clip's writer.
type memory struct{ data []byte }

// Write implements io.Writer.
func (m *memory) Write(b []byte) (int, error) {
	m.data = append(m.data, b...)
	return len(b), nil
}

// WriteAt implements io.WriterAt, within what is written.
func (m *memory) WriteAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > int64(len(m.data)) {
		return 0, io.ErrShortWrite
	}
	return copy(m.data[at:], b), nil
}

// Close implements io.Closer.
func (m *memory) Close() error { return nil }
