package world

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/callbench/callbench/scenarios"
)

// metricsProbe reads how much the server says that it holds. Sessions are not among
// that: those of lost clients may stay for a while.
type metricsProbe struct {
	url    string
	client *http.Client
	before map[string]float64
}

// gauges are what is there as long as a call is.
var gauges = []string{"callbench_calls", "callbench_rooms", "callbench_media_endpoints"}

func openMetricsProbe(ctx context.Context, address string) (*metricsProbe, error) {
	p := &metricsProbe{url: address, client: new(http.Client)}
	var err error
	if p.before, err = p.read(ctx); err != nil {
		return nil, err
	}
	if len(p.before) == 0 {
		return nil, fmt.Errorf("%s has none of the metrics %s", withoutSecrets(address), strings.Join(gauges, ", "))
	}
	return p, nil
}

// read sums up each gauge over its labels, in the text format of Prometheus.
func (p *metricsProbe) read(ctx context.Context) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("%s is no http:// URL", withoutSecrets(p.url))
	}
	response, err := p.client.Do(request)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = fmt.Errorf("get %s: %w", withoutSecrets(p.url), failed.Err)
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", withoutSecrets(p.url), response.Status)
	}
	const most = 16 << 20
	sums := map[string]float64{}
	lines := bufio.NewScanner(io.LimitReader(response.Body, most))
	for lines.Scan() {
		name, value, ok := sample(lines.Text())
		for _, g := range gauges {
			if ok && g == name {
				sums[name] += value
			}
		}
	}
	return sums, lines.Err()
}

// sample reads a line such as name{label="value"} 3.
func sample(line string) (name string, value float64, ok bool) {
	end := strings.IndexAny(line, "{ ")
	if end <= 0 || line[0] == '#' {
		return "", 0, false
	}
	rest := line[end:]
	if i := strings.LastIndexByte(rest, '}'); i >= 0 {
		rest = rest[i+1:]
	}
	words := strings.Fields(rest)
	if len(words) == 0 {
		return "", 0, false
	}
	value, err := strconv.ParseFloat(words[0], 64)
	return line[:end], value, err == nil
}

func (p *metricsProbe) look(ctx context.Context) (found []scenarios.Finding, err error) {
	now, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range gauges {
		if more := now[g] - p.before[g]; more > 0 {
			found = append(found, left("metrics", fmt.Sprintf("%s: %g more than in the beginning", g, more)))
		}
	}
	return found, nil
}

func (p *metricsProbe) close() error {
	p.client.CloseIdleConnections()
	return nil
}
