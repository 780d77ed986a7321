package kmsmock

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// A Delay is a random duration, never below zero.
type Delay struct {
	// Distribution is "fixed" (or empty), "uniform", "normal" or "lognormal".
	Distribution string
	// Mean of the distribution.
	Mean time.Duration
	// Spread is half the range of the uniform distribution and the standard
	// deviation of the others.
	Spread time.Duration
}

var distributions = []string{"", "fixed", "uniform", "normal", "lognormal"}

func (d Delay) check() error {
	fixed := d.Distribution == "" || d.Distribution == "fixed"
	switch {
	case !slices.Contains(distributions, d.Distribution):
		return fmt.Errorf("distribution is %q; it must be one of %q", d.Distribution, distributions[1:])
	case d.Mean < 0 || d.Spread < 0:
		return errors.New("mean and spread of a delay must not be negative")
	case fixed && d.Spread != 0:
		return errors.New("a fixed delay has no spread")
	case !fixed && (d.Mean == 0 || d.Spread == 0):
		return fmt.Errorf("a %s delay needs mean and spread", d.Distribution)
	}
	return nil
}

func (d Delay) draw(r *rand.Rand) time.Duration {
	mean, spread := float64(d.Mean), float64(d.Spread)
	x := mean
	switch d.Distribution {
	case "uniform":
		x = mean + spread*(2*r.Float64()-1)
	case "normal":
		x = mean + spread*r.NormFloat64()
	case "lognormal":
		variance := math.Log(1 + spread*spread/(mean*mean))
		x = math.Exp(math.Log(mean) - variance/2 + math.Sqrt(variance)*r.NormFloat64())
	}
	return time.Duration(max(x, 0))
}

// A Span is a duration as JSON has it, for example "120ms".
type Span time.Duration

// MarshalText writes the duration as Go does.
func (d Span) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Span) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Span(v)
	return err
}

type delayJSON struct {
	Distribution string `json:"distribution,omitempty"`
	Mean         Span   `json:"mean"`
	Spread       Span   `json:"spread,omitzero"`
}

// MarshalJSON writes durations as Go does, for example "120ms".
func (d Delay) MarshalJSON() ([]byte, error) {
	return json.Marshal(delayJSON{d.Distribution, Span(d.Mean), Span(d.Spread)})
}

// UnmarshalJSON reads a duration for a fixed delay, or an object with
// distribution, mean and spread.
func (d *Delay) UnmarshalJSON(b []byte) error {
	var fixed Span
	if json.Unmarshal(b, &fixed) == nil {
		*d = Delay{Mean: time.Duration(fixed)}
		return nil
	}
	var v delayJSON
	if err := decodeStrict(b, &v); err != nil {
		return fmt.Errorf(`delay must be a duration such as "300ms", or have distribution, mean and spread: %w`, err)
	}
	*d = Delay{v.Distribution, time.Duration(v.Mean), time.Duration(v.Spread)}
	return nil
}
