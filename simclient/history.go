package simclient

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"github.com/callbench/callbench/signaling"
)

// History asks for a page of what is over, and logs it. It returns the cursor of
// the next page, "" if this was the last one.
func (c *Client) History(ctx context.Context, q signaling.HistoryQuery) (next string, err error) {
	err = c.do(ctx, func(done func(error)) {
		c.request(&request{done: func(f signaling.Frame, err error) {
			if err == nil {
				next, err = c.historyPage(q, f)
			}
			done(err)
		}}, signaling.TypeHistory, "", q)
	})
	if err != nil { // next may still be written if it was ctx that ended
		return "", c.wrap("history", err)
	}
	return next, nil
}

// historyPage logs a page: each of its items, and then that it was all of them.
func (c *Client) historyPage(q signaling.HistoryQuery, f signaling.Frame) (next string, err error) {
	var page signaling.HistoryPage
	if err := f.Into(&page); err != nil {
		return "", err
	}
	what := slog.String("what", string(q.What))
	for _, item := range page.Items {
		fields, ok := item.(map[string]any)
		if !ok {
			c.violation(nil, violationBadFrame, slog.String("type", string(signaling.TypeHistory)))
			continue
		}
		attrs := []slog.Attr{what}
		for _, k := range slices.Sorted(maps.Keys(fields)) {
			attrs = append(attrs, slog.Any(k, fields[k]))
		}
		c.event(eventHistoryItem, attrs...)
	}
	c.event(eventHistory, what, slog.Int("count", len(page.Items)), slog.Bool("more", page.Next != ""))
	return page.Next, nil
}
