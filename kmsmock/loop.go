package kmsmock

// endless tells whether a new connection closes a circle of elements that hand
// all data on, filters and ports of hubs, which Kurento goes round until its
// stack is full. Other elements end that.
func (l *link) endless() bool {
	seen := map[*element]bool{}
	var reaches func(e *element) bool
	reaches = func(e *element) bool {
		if seen[e] || !e.handsOn(l.kind) {
			return false
		}
		seen[e] = true
		if e == l.source {
			return true
		}
		for _, next := range e.outgoing[l.kind] {
			if next.from == defaultDescription && next.to == defaultDescription && reaches(next.sink) {
				return true
			}
		}
		return false
	}
	return l.from == defaultDescription && l.to == defaultDescription && reaches(l.sink)
}

func (e *element) handsOn(k mediaKind) bool {
	return k == kindData && (e.obj.class.is("Filter") || e.obj.class.is("HubPort"))
}
