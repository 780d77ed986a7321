#!/bin/sh
# Generates the clips that are embedded in package media. Needs ffmpeg with
# libvpx, libopus and libx264. The files are committed, so this only runs when
# somebody wants different clips; one encoder thread and bitexact flags make a
# given ffmpeg write the same bytes every time.
#
# Every clip is 4 s long and starts with a key frame, so that it loops; video has
# a key frame each second (-g 30 at 30 frames a second), no hidden reference
# frames (-auto-alt-ref 0) and no B frames, so one frame in the file is one
# frame shown and capture order is decode order.
set -eu
cd "$(dirname "$0")"

exact="-bitexact -fflags +bitexact -flags +bitexact -threads 1"
run() { ffmpeg -hide_banner -loglevel error -y "$@"; }

vp8() { # name size kbit/s
	run -f lavfi -i "testsrc2=size=$2:rate=30:duration=4" -pix_fmt yuv420p \
		-c:v libvpx $exact -b:v "$3k" -minrate "$3k" -maxrate "$3k" -bufsize "$3k" \
		-g 30 -keyint_min 30 -auto-alt-ref 0 -lag-in-frames 0 -deadline good -cpu-used 2 "$1.ivf"
}

# Constrained baseline, one slice a frame, parameter sets before each key frame;
# the encoder's own SEI is dropped, it would repeat in each loop.
h264() { # name size kbit/s
	run -f lavfi -i "testsrc2=size=$2:rate=30:duration=4" -pix_fmt yuv420p \
		-c:v libx264 -profile:v baseline -level 3.1 $exact -b:v "$3k" -maxrate "$3k" -bufsize "$3k" \
		-g 30 -keyint_min 30 -sc_threshold 0 -bf 0 \
		-x264-params slices=1:repeat-headers=1:aud=0 -bsf:v filter_units=remove_types=6 "$1.h264"
}

# A melody of bursts: each 20 ms begin with 7.5 ms of sound, so that the second
# CELT frame of 10 ms is silent, also where windows overlap; then it is left out, for
# the marker goes there. The bursts have whole periods and no mean, or the encoder's
# filter against DC would trail into the silence. Samples have 16 bits, since those of
# floating point are silent at zero only. One packet a page, because a page is
# what the reader returns.
opus() { # name channels
	run -f lavfi -i "aevalsrc='st(0,mod(n,960)-180);lt(ld(0),180)*cos(PI*ld(0)/360)^2*(0.3*sin(2*PI*ld(0)*(5+floor(mod(t*4,8)))/360)+0.05*sin(2*PI*ld(0)*26/360))':s=48000:d=4" \
		-ac "$2" -sample_fmt s16 -c:a libopus $exact -b:a 32k -vbr constrained -application lowdelay \
		-frame_duration 10 -page_duration 10000 -bsf:a noise=drop='mod(n\,2)+gte(n\,400)' "$1.ogg"
}

vp8 vp8-200k 320x240 200
vp8 vp8-500k 640x360 500
h264 h264-200k 320x240 200
opus opus-mono 1
opus opus-stereo 2
