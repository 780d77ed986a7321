package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/callbench/callbench/server"
)

// limitFlags say what a client, user or address may take.
type limitFlags struct {
	Origins        []string `env:"CALLBENCH_ORIGINS" placeholder:"https://HOST" help:"Web pages that may connect, beside those of the server's own host: https://app.example.com, https://*.example.com."`
	TrustedProxies []string `env:"CALLBENCH_TRUSTED_PROXIES" placeholder:"NETWORK" help:"Load balancers whose X-Forwarded-For is believed: addresses or networks, such as 10.0.0.0/8."`

	LimitConnectionsPerAddress int           `env:"CALLBENCH_LIMIT_CONNECTIONS_PER_ADDRESS" default:"1000" help:"Connections that may be open from one address."`
	LimitConnectionsPerUser    int           `env:"CALLBENCH_LIMIT_CONNECTIONS_PER_USER" default:"16" help:"Connections of one user that may be open."`
	LimitSessionsPerUser       int           `env:"CALLBENCH_LIMIT_SESSIONS_PER_USER" default:"32" help:"Sessions of one user, those that wait to be resumed included."`
	LimitFramesPerSecond       int           `env:"CALLBENCH_LIMIT_FRAMES_PER_SECOND" default:"100" help:"Frames that one connection may send in a second, on average."`
	LimitFrameBurst            int           `env:"CALLBENCH_LIMIT_FRAME_BURST" default:"500" help:"Frames that one connection may send at once."`
	LimitMessagesPerMinute     int           `env:"CALLBENCH_LIMIT_MESSAGES_PER_MINUTE" default:"600" help:"Messages that one user may send in a minute."`
	LimitCallsPerMinute        int           `env:"CALLBENCH_LIMIT_CALLS_PER_MINUTE" default:"30" help:"Calls that one user may ask for in a minute."`
	LimitRecordingsPerMinute   int           `env:"CALLBENCH_LIMIT_RECORDINGS_PER_MINUTE" default:"10" help:"Recordings that one user may start in a minute."`
	LimitRooms                 int           `env:"CALLBENCH_LIMIT_ROOMS" default:"10000" help:"Calls and conferences at a time."`
	LimitRoomsPerUser          int           `env:"CALLBENCH_LIMIT_ROOMS_PER_USER" default:"10" help:"Conferences that one user has made, at a time."`
	LimitMixedMembers          int           `env:"CALLBENCH_LIMIT_MIXED_MEMBERS" default:"16" help:"Members of a room of type mcu."`
	LimitBroadcastMembers      int           `env:"CALLBENCH_LIMIT_BROADCAST_MEMBERS" default:"1000" help:"Members of a room of type broadcast."`
	LimitEndpoints             int           `env:"CALLBENCH_LIMIT_ENDPOINTS" default:"2147483647" help:"Endpoints on the media server from which on nothing new begins; the default is no limit."`
	MediaOperations            int           `env:"CALLBENCH_MEDIA_OPERATIONS" default:"10" help:"Creations and negotiations that the media server is asked for at a time."`
	MediaWaiting               int           `env:"CALLBENCH_MEDIA_WAITING" default:"512" help:"Creations and negotiations that may wait for that before new calls are refused."`
	BadTokenDelay              time.Duration `env:"CALLBENCH_BAD_TOKEN_DELAY" default:"100ms" help:"How late the second bad token of an address is answered; doubles with each."`
	MaxBadTokenDelay           time.Duration `env:"CALLBENCH_MAX_BAD_TOKEN_DELAY" default:"25s" help:"The latest that a bad token is answered."`
}

func (f *limitFlags) limits() server.Limits {
	return server.Limits{ConnectionsPerAddress: f.LimitConnectionsPerAddress, ConnectionsPerUser: f.LimitConnectionsPerUser,
		SessionsPerUser: f.LimitSessionsPerUser, FramesPerSecond: f.LimitFramesPerSecond, FrameBurst: f.LimitFrameBurst,
		MessagesPerMinute: f.LimitMessagesPerMinute, CallsPerMinute: f.LimitCallsPerMinute, RecordingsPerMinute: f.LimitRecordingsPerMinute, Rooms: f.LimitRooms, RoomsPerUser: f.LimitRoomsPerUser,
		MixedMembers: f.LimitMixedMembers, BroadcastMembers: f.LimitBroadcastMembers,
		BadTokenDelay: f.BadTokenDelay, MaxBadTokenDelay: f.MaxBadTokenDelay}
}

func (f *limitFlags) check() error {
	for name, n := range map[string]int{"connections-per-address": f.LimitConnectionsPerAddress, "connections-per-user": f.LimitConnectionsPerUser,
		"sessions-per-user": f.LimitSessionsPerUser, "frames-per-second": f.LimitFramesPerSecond, "frame-burst": f.LimitFrameBurst,
		"messages-per-minute": f.LimitMessagesPerMinute, "calls-per-minute": f.LimitCallsPerMinute, "recordings-per-minute": f.LimitRecordingsPerMinute, "rooms": f.LimitRooms, "rooms-per-user": f.LimitRoomsPerUser,
		"mixed-members": f.LimitMixedMembers, "broadcast-members": f.LimitBroadcastMembers, "endpoints": f.LimitEndpoints} {
		if n < 1 || n > server.Unlimited {
			return fmt.Errorf("-limit-%s must be between 1 and %d, which is no limit", name, server.Unlimited)
		}
	}
	if f.MediaOperations < 1 || f.MediaWaiting < 1 {
		return errors.New("-media-operations and -media-waiting must be 1 or more")
	}
	if f.BadTokenDelay <= 0 || f.MaxBadTokenDelay < f.BadTokenDelay || f.MaxBadTokenDelay > time.Minute {
		return errors.New("-bad-token-delay must be more than 0s, and -max-bad-token-delay between that and 1m")
	}
	_, err := f.proxies()
	return err
}

// apply sets what the flags say.
func (f *limitFlags) apply(cfg *server.Config) (err error) {
	cfg.Limits = f.limits()
	cfg.Admission = server.Admission{Operations: f.MediaOperations, Waiting: f.MediaWaiting, Endpoints: f.LimitEndpoints}
	if cfg.TrustedProxies, err = f.proxies(); err != nil {
		return err
	}
	if cfg.CheckOrigin, err = server.Origins(f.Origins...); err != nil {
		return fmt.Errorf("-origins: %w", err)
	}
	return nil
}

func (f *limitFlags) proxies() (list []netip.Prefix, err error) {
	for _, text := range f.TrustedProxies {
		text = strings.TrimSpace(text)
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("-trusted-proxies: %q is neither an address such as 10.0.0.7 nor a network such as 10.0.0.0/8", text)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		list = append(list, p.Masked())
	}
	return list, nil
}
