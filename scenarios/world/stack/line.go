package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Line is the way from the servers to a part, or from clients to Coturn.
type Line struct {
	name string
	url  string // of its control
}

// lineLimit is how long a line may take to do as it is told.
const lineLimit = 5 * time.Second

// Cut stalls everything on the line, and what is dialed from then on.
func (l *Line) Cut() error { return l.tell(order{Do: "cut"}) }

// Restore ends that.
func (l *Line) Restore() error { return l.tell(order{Do: "restore"}) }

// Reset breaks the connections that there are.
func (l *Line) Reset() error { return l.tell(order{Do: "reset"}) }

// SetDelay makes each way take so long.
func (l *Line) SetDelay(d time.Duration) error { return l.tell(order{Do: "delay", Delay: d}) }

// SetLoss loses so many percent of datagrams each way.
func (l *Line) SetLoss(percent float64) error { return l.tell(order{Do: "loss", Loss: percent}) }

// mend undoes all that.
func (l *Line) mend() error {
	err := errors.Join(l.Restore(), l.SetDelay(0))
	if l.name == Coturn {
		err = errors.Join(err, l.SetLoss(0))
	}
	return err
}

func (l *Line) tell(o order) error {
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lineLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url+"/lines/"+l.name, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("the line to %s: %w", l.name, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, maxOrder))
		return fmt.Errorf("the line to %s: %s", l.name, bytes.TrimSpace(said))
	}
	return nil
}
