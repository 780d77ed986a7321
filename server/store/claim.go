package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// ClaimConfig says how patient a Claim is.
type ClaimConfig struct {
	// Patience is how long a claim waits for the server that had the name to end; 3 s.
	Patience time.Duration
	// Check is how often it is looked up who has the name, should a message be missed;
	// 5 s.
	Check time.Duration
}

// claimTTL is how long a name is remembered whose owner has died.
const claimTTL = 24 * time.Hour

// Claim is a server's right to the name of a node, under which its rooms and sessions
// are in Redis. The last that claims a name has it: two that went on with the same
// calls would undo each other's work. Who has lost it must end at once, and leave
// everything as it is: it is another's now.
type Claim struct {
	redis *Redis
	node  string
	owner string // whoever claims has another
	sub   *redis.PubSub
	lost  chan struct{}
	stop  context.CancelFunc
	once  sync.Once
	done  chan struct{}
}

// Claim takes the name of a node and tells the server that had it. If there is one
// it is waited for; one that was killed is not, since Redis knows that nobody listens.
func (r *Redis) Claim(ctx context.Context, node string, cfg ClaimConfig) (*Claim, error) {
	if cfg.Patience == 0 {
		cfg.Patience = 3 * time.Second
	}
	if cfg.Check == 0 {
		cfg.Check = 5 * time.Second
	}
	c := &Claim{redis: r, node: node, owner: rand.Text(), lost: make(chan struct{}), done: make(chan struct{})}
	var told *redis.IntCmd
	err := r.run(ctx, "claim node", func(p redis.Pipeliner) {
		p.Set(ctx, ownerKey(node), c.owner, claimTTL)
		told = p.Publish(ctx, takenChannel(node), c.owner)
	})
	if err != nil {
		return nil, err
	}
	if told.Val() > 0 {
		if err := c.await(ctx, cfg.Patience); err != nil {
			return nil, err
		}
	}
	c.sub = r.client.Subscribe(ctx, takenChannel(node))
	if _, err := c.sub.Receive(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for other servers of node %s: %w", node, err), c.sub.Close())
	}
	watching, stop := context.WithCancel(context.Background())
	c.stop = stop
	go c.watch(watching, cfg.Check)
	return c, nil
}

// await returns when nobody listens any more who had the name, or has had time enough.
func (c *Claim) await(ctx context.Context, patience time.Duration) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		var listen *redis.MapStringIntCmd
		err := c.redis.run(ctx, "count servers of node", func(p redis.Pipeliner) { listen = p.PubSubNumSub(ctx, takenChannel(c.node)) })
		if err != nil || listen.Val()[takenChannel(c.node)] == 0 {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Lost is closed when another server has taken the name.
func (c *Claim) Lost() <-chan struct{} { return c.lost }

// watch finds out whether another server takes the name.
func (c *Claim) watch(ctx context.Context, check time.Duration) {
	defer close(c.done)
	tick := time.NewTicker(check)
	defer tick.Stop()
	messages := c.sub.Channel()
	for c.has(ctx) {
		select {
		case m, ok := <-messages:
			if ok && m.Payload == c.owner {
				continue // its own
			}
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	close(c.lost)
}

// has looks up who has the name, and takes it if nobody has, as Redis may have lost
// it. A Redis that is away gives it to nobody else.
func (c *Claim) has(ctx context.Context) bool {
	var owner *redis.StringCmd
	err := c.redis.run(ctx, "hold node", func(p redis.Pipeliner) {
		p.SetNX(ctx, ownerKey(c.node), c.owner, claimTTL)
		owner = p.Get(ctx, ownerKey(c.node))
	})
	return err != nil || owner.Val() == c.owner
}

// giveBack removes a name if it is still the owner's.
const giveBack = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`

// Close gives the name back.
func (c *Claim) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := c.redis.run(ctx, "give node back", func(p redis.Pipeliner) { p.Eval(ctx, giveBack, []string{ownerKey(c.node)}, c.owner) })
	return errors.Join(err, c.Abandon())
}

// Abandon stops to listen, as the death of the process does.
func (c *Claim) Abandon() (err error) {
	c.once.Do(func() {
		c.stop()
		<-c.done
		err = c.sub.Close()
	})
	return err
}
