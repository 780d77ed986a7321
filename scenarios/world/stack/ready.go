package stack

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/callbench/callbench/kurento"
)

// RelationsRefresh is how soon servers know of users and blocks that a world made.
const RelationsRefresh = 250 * time.Millisecond

// withKurento does something with a connection to a media server.
func withKurento(ctx context.Context, url string, do func(*kurento.Client) error) (err error) {
	c, err := kurento.Dial(ctx, kurento.Config{URL: url})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return do(c)
}

func (p *Part) kurentoURL() string { return "ws://" + p.at(kurentoPort) + "/kurento" }

func kurentoReady(ctx context.Context, p *Part) error {
	return withKurento(ctx, p.kurentoURL(), func(c *kurento.Client) error { return c.Ping(ctx) })
}

func kurentoVersion(ctx context.Context, p *Part) (version string, err error) {
	err = withKurento(ctx, p.kurentoURL(), func(c *kurento.Client) error {
		info, err := c.ServerManager().Info(ctx)
		version = info.Version
		return err
	})
	return version, err
}

func withRedis(p *Part, do func(*redis.Client) error) (err error) {
	c := redis.NewClient(&redis.Options{Addr: p.at(redisPort), MaxRetries: -1})
	defer func() { err = errors.Join(err, c.Close()) }()
	return do(c)
}

func redisReady(ctx context.Context, p *Part) error {
	return withRedis(p, func(c *redis.Client) error { return c.Ping(ctx).Err() })
}

func redisVersion(ctx context.Context, p *Part) (version string, err error) {
	err = withRedis(p, func(c *redis.Client) error {
		said, err := c.Info(ctx, "server").Result()
		for line := range strings.Lines(said) {
			if v, ok := strings.CutPrefix(line, "redis_version:"); ok {
				version = strings.TrimSpace(v)
			}
		}
		return err
	})
	return version, err
}

func mysqlReady(ctx context.Context, p *Part) error {
	_, err := mysqlVersion(ctx, p)
	return err
}

func mysqlVersion(ctx context.Context, p *Part) (version string, err error) {
	db, err := sql.Open("mysql", p.stack.dsn(p.at(mysqlPort)))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version)
	return version, err
}

// turnReady asks for a binding (RFC 8489).
func turnReady(ctx context.Context, p *Part) error {
	conn, err := new(net.Dialer).DialContext(ctx, "udp4", p.at(turnPort))
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	request := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, rand.Text()[:12]...) // no attributes, the magic cookie, a transaction
	_, err = conn.Write(request)
	if err == nil {
		_, err = conn.Read(make([]byte, 1500))
	}
	return err
}

func coturnVersion(ctx context.Context, p *Part) (string, error) {
	said, err := p.exec(ctx, "turnserver", "--version")
	return "Coturn " + firstLine(said), err
}

// answers is nil if an HTTP server says 200.
func answers(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(response.Body, maxOrder))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, response.Status, firstLine(string(said)))
	}
	return nil
}

func serverReady(ctx context.Context, p *Part) error {
	return answers(ctx, "http://"+p.at(webPort)+"/readyz")
}

func balancerReady(ctx context.Context, p *Part) error { return serverReady(ctx, p) }

func linesReady(ctx context.Context, p *Part) error {
	return answers(ctx, "http://"+p.at(linesPort)+"/")
}

func callbenchVersion(ctx context.Context, p *Part) (string, error) {
	said, err := p.exec(ctx, "callbench", "--version")
	return firstLine(said), err
}

func haproxyVersion(ctx context.Context, p *Part) (string, error) {
	said, err := p.exec(ctx, "haproxy", "-v")
	line, _, _ := strings.Cut(firstLine(said), " - ")
	return line, err
}
