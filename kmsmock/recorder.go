package kmsmock

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/callbench/callbench/kmsmock/clip"
)

// A profile is what a recorder writes.
type profile struct {
	kinds  []mediaKind
	format string   // of clip, the nearest to what Kurento writes
	codecs []string // that Kurento writes without transcoding
}

// profiles are by MediaProfileSpecType. Whatever else comes in, Kurento
// transcodes: to VP8 and Opus, H264 and AAC, or JPEG. Here it is written as it
// comes, as Matroska if WebM cannot hold it.
var profiles = map[string]profile{
	"WEBM":            {recordsBoth, clip.WebM, []string{clip.VP8, clip.Opus}},
	"WEBM_VIDEO_ONLY": {recordsVideo, clip.WebM, []string{clip.VP8}},
	"WEBM_AUDIO_ONLY": {recordsAudio, clip.WebM, []string{clip.Opus}},
	"MKV":             {recordsBoth, clip.Matroska, []string{clip.H264}},
	"MKV_VIDEO_ONLY":  {recordsVideo, clip.Matroska, []string{clip.H264}},
	"MKV_AUDIO_ONLY":  {recordsAudio, clip.Matroska, nil},
	"MP4":             {recordsBoth, clip.Matroska, []string{clip.H264}},
	"MP4_VIDEO_ONLY":  {recordsVideo, clip.Matroska, []string{clip.H264}},
	"MP4_AUDIO_ONLY":  {recordsAudio, clip.Matroska, nil},
	"FLV":             {recordsBoth, clip.Matroska, []string{clip.H264}},
	"JPEG_VIDEO_ONLY": {recordsVideo, clip.Matroska, nil},
}

var (
	recordsBoth  = []mediaKind{kindVideo, kindAudio}
	recordsVideo = []mediaKind{kindVideo}
	recordsAudio = []mediaKind{kindAudio}
)

// stopTimeout is how long stopAndWait waits for the end of the file.
const stopTimeout = 4 * time.Second

// A recorderEndpoint writes the media that it gets to a file. Everything in it
// is guarded by the server's lock but what the media path reads.
type recorderEndpoint struct {
	uriEndpoint
	profile profile

	starting bool // record was called, media has not come yet
	stopping bool
	playing  bool // has been in START
	spent    bool // was stopped, does nothing any more
	arrived  [2]bool
	failed   bool // the file could not be opened

	rec atomic.Pointer[recording] // nil while media is not taken
}

func buildRecorder(o *mediaObject, args object) error {
	name := args["mediaProfile"].(string)
	p, ok := profiles[name]
	if !ok { // a plugin that a stock server does not have
		return failf(40107, "MEDIA_OBJECT_ILLEGAL_PARAM_ERROR", "Kurento Split Recorder not supported")
	}
	r := &recorderEndpoint{uriEndpoint: newURIEndpoint(o, "kmsrecorderendpoint", args), profile: p}
	r.port = r
	o.impl = r
	return nil
}

func recorderOf(o *mediaObject) *recorderEndpoint { return o.impl.(*recorderEndpoint) }

func recordMedia(c *call) (value, error) {
	r := recorderOf(c.obj)
	if r.spent || r.starting || r.stopping || r.state == "START" {
		return nil, nil
	}
	r.starting = true
	rec := r.rec.Load()
	if rec == nil {
		if rec = r.open(); r.closed {
			rec.end() // released while the file was opened
			return nil, errNotFound(c.obj.id)
		}
		r.rec.Store(rec)
	}
	rec.resume(time.Now())
	switch {
	case r.scheme() == "http" || r.scheme() == "https": // a sink that starts without media
		r.started()
	case r.playing:
		r.started()
	}
	return nil, nil
}

// open opens the file and begins to take media. Without a file Kurento takes
// media all the same, but never says that it records.
func (r *recorderEndpoint) open() *recording {
	s := r.obj.srv
	rec := newRecording(r)
	switch r.scheme() {
	case "rtsp": // GStreamer's sink for it never gets ready
		r.failed = true
	case "file":
		told, real := r.file()
		file, err := s.openRecording(r.obj, real)
		if err != nil {
			r.failed = true
			r.reportOpen(told, err)
		} else {
			rec.file = file
		}
	}
	s.spawn(rec.run)
	return rec
}

// started is the state that record leads to. The lock is held.
func (r *recorderEndpoint) started() {
	r.starting, r.playing = false, true
	r.change("START")
	r.obj.srv.emit(r.obj, "Recording", object{})
}

func (r *recorderEndpoint) pause() {
	if r.spent || r.starting || r.stopping || r.state == "PAUSE" {
		return
	}
	if rec := r.rec.Load(); rec != nil {
		rec.pause(time.Now())
	}
	r.change("PAUSE")
	r.obj.srv.emit(r.obj, "Paused", object{})
}

func (r *recorderEndpoint) stop() { r.finish() }

// finish ends the recording; the state follows when the file is complete. It
// returns the recording that is being completed, nil if there is none. While
// record waits for media there is nothing to stop.
func (r *recorderEndpoint) finish() *recording {
	if r.spent || r.stopping || r.starting || r.state == "STOP" {
		return nil
	}
	r.stopping = true
	for i := range r.in {
		r.in[i].stop() // what flowed counts as flowing for ever
	}
	rec := r.rec.Swap(nil)
	if rec == nil {
		r.stopped()
		return nil
	}
	rec.end()
	return rec
}

// stopped is the state after stop. The lock is held.
func (r *recorderEndpoint) stopped() {
	r.stopping, r.spent = false, true
	r.change("STOP")
	r.obj.srv.emit(r.obj, "Stopped", object{})
}

func stopAndWait(c *call) (value, error) {
	r := recorderOf(c.obj)
	rec := r.finish()
	if rec == nil {
		return nil, nil
	}
	c.srv.mu.Unlock()
	timeout := time.NewTimer(stopTimeout)
	select {
	case <-rec.done:
	case <-timeout.C:
	case <-c.srv.ctx.Done():
	}
	timeout.Stop()
	c.srv.mu.Lock()
	c.pace.respond = c.srv.pace.respond + c.srv.pace.event
	return nil, nil
}

// takes tells whether media of a kind goes into the file now.
func (r *recorderEndpoint) takes(k mediaKind) bool {
	return r.rec.Load() != nil && slices.Contains(r.profile.kinds, k)
}

// accepts tells whether Kurento would write a codec as it is.
func (r *recorderEndpoint) accepts(c *codec) bool {
	return slices.Contains(r.profile.codecs, c.name)
}

// deliver takes a packet for the file. Video counts from a key frame on.
func (r *recorderEndpoint) deliver(p *packet) bool {
	rec := r.rec.Load()
	if rec == nil || !rec.take(p) {
		return false
	}
	if rec.seen[p.kind].Load() {
		return true
	}
	rec.seen[p.kind].Store(true)
	r.notice(&r.in[p.kind], "MediaFlowInStateChanged", p.kind, p.at)
	s := r.obj.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	r.arrived[p.kind] = true
	r.mayStart()
	return true
}

// mayStart goes to START once all media of the profile have come.
func (r *recorderEndpoint) mayStart() {
	for _, k := range r.profile.kinds {
		if !r.arrived[k] {
			return
		}
	}
	switch {
	case r.closed:
	case r.scheme() == "http" || r.scheme() == "https":
		r.reportUpload()
	case r.starting && !r.failed:
		r.started()
	}
}

// release ends the recorder. Its file is completed, nobody is told.
func (r *recorderEndpoint) release() func() {
	r.element.release()
	rec := r.rec.Swap(nil)
	if rec == nil {
		return func() {}
	}
	return rec.end
}

// The Error events of a recorder are GStreamer's messages about its file sink.

func (r *recorderEndpoint) sinkDebug(place, system string) string {
	debug := fmt.Sprintf("../plugins/elements/%s: /GstPipeline:pipeline%s/GstFileSink:filesink%s", place, r.number(), r.number())
	if system != "" {
		debug += ":\nsystem error: " + system
	}
	return debug
}

// reportOpen tells that the file cannot be opened.
func (r *recorderEndpoint) reportOpen(path string, err error) {
	if errors.Is(err, errCommanded) {
		return
	}
	if path == "" {
		r.reportGst(3, "UNEXPECTED_ELEMENT_ERROR", "No file name specified for writing.",
			r.sinkDebug("gstfilesink.c(452): gst_file_sink_open_file ()", ""))
	} else {
		r.reportGst(6, "RESOURCE_ERROR_OPEN", fmt.Sprintf("Could not open file %q for writing.", path),
			r.sinkDebug("gstfilesink.c(458): gst_file_sink_open_file ()", systemError(err)))
	}
	r.reportGst(4, "UNEXPECTED_ELEMENT_ERROR", "GStreamer error: state change failed and some element failed to post a proper "+
		"error message with the reason for the failure.", r.sinkDebug("gstbasesink.c(5878): gst_base_sink_change_state ()", "")+":\nFailed to start")
}

// rewrites is how often Kurento goes back to the head of a file at its end; on
// a full disk each of them fails.
const rewrites = 4

// reportWrite tells that writing failed: of media, or of the head at the end.
func (r *recorderEndpoint) reportWrite(err error, atEnd bool) {
	const place = "gstelements_private.c(338): gst_writev_iovecs ()"
	path, _ := r.file()
	switch {
	case errors.Is(err, errCommanded):
	case !isFull(err):
		r.reportGst(10, "RESOURCE_ERROR_WRITE", fmt.Sprintf("Error while writing to file %q.", path), r.sinkDebug(place, systemError(err)))
	case !atEnd:
		r.reportFull(place)
	default:
		for range rewrites {
			r.reportFull(place)
			r.reportGst(11, "UNEXPECTED_ELEMENT_ERROR", fmt.Sprintf("Error while seeking in file %q.", path),
				r.sinkDebug("gstfilesink.c(659): gst_file_sink_event ()", systemError(err)))
		}
	}
}

func (r *recorderEndpoint) reportFull(place string) {
	r.reportGst(14, "RESOURCE_ERROR_NO_SPACE_LEFT", "No space left on the resource.", r.sinkDebug(place, ""))
}

// reportUpload is what Kurento says of an HTTP server that is not there; none
// is ever asked.
func (r *recorderEndpoint) reportUpload() {
	r.reportGst(10, "RESOURCE_ERROR_WRITE", "failed to transfer data: Couldn't connect to server",
		"../ext/curl/gstcurlbasesink.c(402): gst_curl_base_sink_render ()")
	for _, source := range []string{"avMuxerVideoSrc", "avMuxerAudioSrc"} {
		r.reportGst(1, "STREAM_ERROR_FAILED", "Internal data stream error.",
			"../libs/gst/base/gstbasesrc.c(3132): gst_base_src_loop (): GstAppSrc:"+source+":\nstreaming stopped, reason error (-5)")
	}
}
