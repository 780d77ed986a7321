package kmsmock

import (
	"context"
	"fmt"
	"time"

	"github.com/callbench/callbench/kmsmock/clip"
)

// A playerEndpoint plays a file into the graph of elements. Everything in it is
// guarded by the server's lock.
type playerEndpoint struct {
	uriEndpoint
	encoded bool // useEncodedMedia: frames go out as they are in the file
	opened  bool // play was called; before it Kurento does not know the URI
	torn    bool // went wrong after pause or setPosition, until stop
	sought  bool // setPosition was called after that, in PAUSE

	clip     *clip.Clip // nil until it is loaded, and after stop
	playback *playback  // nil unless frames go out
	last     *playback  // the newest, whose last frame may be on its way
	position time.Duration
	clock    mediaClock
}

func buildPlayer(o *mediaObject, args object) error {
	p := &playerEndpoint{uriEndpoint: newURIEndpoint(o, "kmsplayerendpoint", args), encoded: args["useEncodedMedia"] == true}
	o.impl = p
	return nil
}

func playerOf(o *mediaObject) *playerEndpoint { return o.impl.(*playerEndpoint) }

func playMedia(c *call) (value, error) {
	p := playerOf(c.obj)
	if p.state == "START" {
		return nil, nil
	}
	p.opened = true
	p.change("START")
	switch {
	case p.torn && p.sought:
		p.sought = false
		p.reportTorn(true)
	case p.torn:
	case p.clip != nil:
		p.start()
	default:
		p.load()
	}
	return nil, nil
}

// load reads the file without the server's lock, and plays if that is still
// asked for then.
func (p *playerEndpoint) load() {
	s := p.obj.srv
	load := &playback{}
	load.ctx, load.cancel = context.WithCancel(s.ctx)
	p.playback = load
	s.spawn(func() {
		defer load.cancel()
		c, err := p.read(load.ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		if p.closed || p.playback != load {
			return
		}
		p.playback = nil
		if err != nil {
			p.reportLoad(err)
			return
		}
		p.clip, p.position = c, 0
		if p.state == "START" {
			p.start()
		}
	})
}

// start lets frames go out from the position on. The lock is held.
func (p *playerEndpoint) start() {
	p.playback = newPlayback(p)
	p.obj.srv.spawn(p.playback.run)
}

// halt ends the frames, or the loading, and keeps the position.
func (p *playerEndpoint) halt() {
	if p.playback == nil {
		return
	}
	p.position = p.now()
	p.playback.cancel()
	p.playback = nil
}

// now is the position in the clip.
func (p *playerEndpoint) now() time.Duration {
	if p.playback == nil || p.playback.clip == nil {
		return p.position
	}
	return min(p.playback.from+max(time.Since(p.playback.began), 0), p.clip.Length)
}

func (p *playerEndpoint) pause() {
	if p.state == "PAUSE" {
		return
	}
	if !p.opened {
		p.reportGst(3, "UNEXPECTED_ELEMENT_ERROR", "No URI specified to play from.",
			"../gst/playback/gsturidecodebin.c(1456): gen_source_element (): "+p.place())
	}
	fresh := p.clip == nil && p.opened && p.state == "STOP"
	running := p.playback != nil && p.playback.clip != nil
	p.halt()
	p.change("PAUSE")
	switch {
	case fresh:
		p.load()
	case running && !p.obj.srv.cfg.ResumablePlayer:
		p.torn = true
		p.reportTorn(true)
	}
}

func (p *playerEndpoint) stop() {
	p.halt()
	p.clip, p.position, p.torn, p.sought = nil, 0, false, false
	p.change("STOP")
}

// ended is the end of the clip. The lock is held.
func (p *playerEndpoint) ended() {
	p.stop()
	p.obj.srv.emit(p.obj, "EndOfStream", object{})
}

func (p *playerEndpoint) release() func() {
	p.halt()
	return p.element.release()
}

func getPosition(o *mediaObject) (value, error) { return playerOf(o).now().Milliseconds(), nil }

func setPosition(o *mediaObject, v value) error {
	p := playerOf(o)
	if p.clip == nil {
		return failf(40700, "PLAYER_SEEK_FAIL", "Seek fails")
	}
	running := p.playback != nil
	p.halt()
	p.position = min(max(time.Duration(v.(int64))*time.Millisecond, 0), p.clip.Length)
	switch {
	case p.torn:
		p.sought = p.state == "PAUSE"
	case !running:
	case p.obj.srv.cfg.ResumablePlayer:
		p.start()
	default:
		p.torn = true
		p.reportTorn(false)
	}
	return nil
}

func getVideoInfo(o *mediaObject) (value, error) {
	info := object{"isSeekable": false, "seekableInit": int64(0), "seekableEnd": int64(0), "duration": int64(0)}
	if c := playerOf(o).clip; c != nil {
		info["isSeekable"] = true
		if !c.Untold {
			info["seekableEnd"], info["duration"] = c.Length.Milliseconds(), c.Length.Milliseconds()
		}
	}
	return kurentoStruct("VideoInfo", info), nil
}

// getPlayerDot describes the player's own pipeline, of which there is only a
// name here.
func getPlayerDot(o *mediaObject) (value, error) {
	return fmt.Sprintf("digraph pipeline {\n  rankdir=LR;\n  label=\"<GstPipeline>\\ninternalpipeline\";\n  %q;\n}\n", playerOf(o).gst), nil
}

// place is where in GStreamer the player's errors come from.
func (p *playerEndpoint) place() string {
	return "/GstPipeline:internalpipeline/GstURIDecodeBin:uridecodebin" + p.number()
}

// reportTorn sends the Errors that Kurento 7.3.0 on GStreamer 1.22 was recorded
// to send once playing has been interrupted, by a change of state or by
// setPosition alone. A decoder adds its own.
func (p *playerEndpoint) reportTorn(stateChanged bool) {
	const queue = "../plugins/elements/gstmultiqueue.c"
	places := []string{"../gst/matroska/matroska-demux.c(6117): gst_matroska_demux_loop ()"}
	if stateChanged && !p.encoded {
		places = append(places, queue+"(2782): gst_multi_queue_sink_event ()")
	}
	if !p.encoded || !stateChanged {
		places = append(places, queue+"(2468): gst_multi_queue_loop ()")
	}
	for _, place := range places {
		p.reportStream(place+": "+p.place(), "error (-5)")
	}
}

func (p *playerEndpoint) reportStream(debug, reason string) {
	p.reportGst(1, "STREAM_ERROR_FAILED", "Internal data stream error.", debug+":\nstreaming stopped, reason "+reason)
}
