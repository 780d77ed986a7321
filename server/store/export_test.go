package store

// SizeOf is how many hashes a Memory holds, with those that have expired.
func SizeOf(m *Memory) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.hashes)
}
