package store

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
)

// errRedisAddr says how the address of a Redis is written. It does not repeat what
// was written instead: a password may be anywhere in it.
var errRedisAddr = errors.New("the address of Redis is HOST:PORT, or redis://USER:PASSWORD@HOST:PORT/DATABASE without parameters, with rediss:// for TLS, " +
	"where special characters of the password are written as %2F")

// ParseRedis reads where a Redis is, HOST:PORT or a URL of the schemes redis and
// rediss (https://www.iana.org/assignments/uri-schemes/prov/redis). What it has
// against an address tells nobody a password that is in it.
func ParseRedis(text string) (RedisConfig, error) {
	if !strings.Contains(text, "://") {
		host, port, err := net.SplitHostPort(text)
		if err != nil || host == "" || port == "" || strings.ContainsAny(text, "@/") {
			return RedisConfig{}, errRedisAddr
		}
		return RedisConfig{Addr: text}, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "redis" && u.Scheme != "rediss" || u.RawQuery != "" || u.Fragment != "" {
		return RedisConfig{}, errRedisAddr
	}
	o, err := redis.ParseURL(text)
	if err != nil || o.DB < 0 {
		return RedisConfig{}, errRedisAddr
	}
	return RedisConfig{Addr: o.Addr, Username: o.Username, Password: o.Password, DB: o.DB, TLS: o.TLSConfig, url: true}, nil
}

// String is what the Redis may be called in public: where it is, without user and
// password.
func (c RedisConfig) String() string {
	switch {
	case c.TLS != nil:
		return fmt.Sprintf("rediss://%s/%d", c.Addr, c.DB)
	case c.url:
		return fmt.Sprintf("redis://%s/%d", c.Addr, c.DB)
	}
	return c.Addr
}
