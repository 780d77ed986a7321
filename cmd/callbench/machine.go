package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// What a call takes of a machine in the local world, where clients, server and media server share it:
// forty calls at a time were seen to hold 334 files.
const (
	filesPerCall = 10
	filesBeside  = 100
	portsPerCall = 10
	// callsPerCore is how many calls of 500 kbit/s a core carries without loss, all parts of
	// it included.
	callsPerCore = 50
	// smallBuffer is what holds a burst of one call; Linux has 212,992 unless told otherwise.
	smallBuffer = 200 << 10
	bigBuffer   = 1 << 20
)

// machine is where the doctor looks.
type machine struct {
	look   func(command string) (path string, err error)
	read   func(file string) ([]byte, error)
	files  func() (limit uint64, err error)
	listen func(network, address string) error
	cores  int
}

func thisMachine() machine {
	return machine{look: exec.LookPath, read: os.ReadFile, files: openFiles, listen: canListen, cores: runtime.NumCPU()}
}

func canListen(network, address string) error {
	if network == "udp" {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	return l.Close()
}

// check examines the machine for so many calls at a time.
func (m machine) check(calls int) []finding {
	return append([]finding{m.cpu(calls), m.fileLimit(calls), m.buffers(calls), m.ports(calls), m.sockets(), m.clock()}, m.commands()...)
}

func (m machine) cpu(calls int) finding {
	f := finding{Name: "cpu", State: stateOK, Found: fmt.Sprintf("%d cores for %d calls at a time", m.cores, calls),
		Why: "A generator that is short of CPU is late, and reports its own lateness as the server's.",
		Do:  fmt.Sprintf("hold %d calls or fewer, or run clients and servers on machines of their own", m.cores*callsPerCore)}
	if calls > m.cores*callsPerCore {
		f.State = stateWarn
	}
	return f
}

func (m machine) fileLimit(calls int) finding {
	need := uint64(calls*filesPerCall + filesBeside)
	f := finding{Name: "open files", State: stateOK, Why: "Each call holds about ten sockets; without them calls fail that the server would have carried.",
		Do: fmt.Sprintf("ulimit -n %d", need)}
	limit, err := m.files()
	switch {
	case err != nil:
		f.State, f.Found = stateWarn, "unknown: "+err.Error()
	case limit < need:
		f.State, f.Found = stateWarn, fmt.Sprintf("%d, and %d calls at a time need about %d", limit, calls, need)
	default:
		f.Found = fmt.Sprintf("%d, enough for %d calls at a time", limit, calls)
	}
	return f
}

// number reads a file of the kernel that holds one number, or the i-th of several.
func (m machine) number(file string, i int) (int, error) {
	b, err := m.read(file)
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b))
	if i >= len(fields) {
		return 0, fmt.Errorf("%s holds %q", file, b)
	}
	return strconv.Atoi(fields[i])
}

func (m machine) buffers(calls int) finding {
	f := finding{Name: "udp buffers", State: stateOK, Why: "What does not fit into a socket's buffer is dropped by the kernel, and looks like loss in the network.",
		Do: fmt.Sprintf("sysctl -w net.core.rmem_max=%d net.core.rmem_default=%d", bigBuffer, bigBuffer)}
	used, err := m.number("/proc/sys/net/core/rmem_default", 0)
	most, err2 := m.number("/proc/sys/net/core/rmem_max", 0)
	if err != nil || err2 != nil {
		f.State, f.Found = stateWarn, "unknown on this system"
		return f
	}
	f.Found = fmt.Sprintf("%d bytes (rmem_default), at most %d (rmem_max)", used, most)
	if used < smallBuffer || calls > m.cores*callsPerCore && used < bigBuffer {
		f.State = stateWarn
	}
	return f
}

func (m machine) ports(calls int) finding {
	f := finding{Name: "ports", State: stateOK, Why: "Each call takes about ten ports of the range that the system gives out.",
		Do: "sysctl -w net.ipv4.ip_local_port_range='10000 65000'"}
	first, err := m.number("/proc/sys/net/ipv4/ip_local_port_range", 0)
	last, err2 := m.number("/proc/sys/net/ipv4/ip_local_port_range", 1)
	if err != nil || err2 != nil {
		f.State, f.Found = stateWarn, "unknown on this system"
		return f
	}
	f.Found = fmt.Sprintf("%d to %d", first, last)
	if last-first+1 < calls*portsPerCall {
		f.State = stateWarn
	}
	return f
}

// sockets tries what the local world needs, and the ports where services usually are.
func (m machine) sockets() finding {
	f := finding{Name: "loopback", State: stateOK, Found: "UDP and TCP sockets open", Why: "The local world, serve and mock need sockets on 127.0.0.1; the virtual world needs none.",
		Do: "allow this user sockets on 127.0.0.1, or use the virtual world"}
	for _, network := range []string{"udp", "tcp"} {
		if err := m.listen(network, "127.0.0.1:0"); err != nil {
			f.State, f.Found = stateMissing, err.Error()
			return f
		}
	}
	for _, usual := range []struct{ network, address, what string }{
		{"tcp", "127.0.0.1:8080", "callbench serve"}, {"tcp", "127.0.0.1:8888", "callbench mock"}} {
		if err := m.listen(usual.network, usual.address); err != nil {
			f.State, f.Found = stateWarn, fmt.Sprintf("port of %s is taken: %v", usual.what, err)
			f.Do = "give " + usual.what + " another address with -listen"
		}
	}
	return f
}

func (m machine) clock() finding {
	f := finding{Name: "clock", State: stateOK, Why: "Every frame reads the clock; where that is slow or coarse, delays and pacing are too.",
		Do: "boot with clocksource=tsc, or measure on another machine"}
	b, err := m.read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	source := strings.TrimSpace(string(b))
	switch {
	case err != nil:
		f.State, f.Found = stateWarn, "unknown on this system"
	case source == "hpet" || source == "acpi_pm" || source == "jiffies" || source == "refined-jiffies":
		f.State, f.Found = stateWarn, source
	default:
		f.Found = source
	}
	return f
}

// commands looks for what tests and people use beside callbench. Go is not among them.
func (m machine) commands() []finding {
	var found []finding
	for _, c := range []struct {
		name     string
		commands []string
		why, do  string
	}{
		{"redis-server", []string{"redis-server", "valkey-server"}, "The server's state is tested against a real Redis.", "apt-get install redis-server, or give its address with -redis"},
		{"turnserver", []string{"turnserver"}, "The configuration for Coturn is tested with it; runs use the embedded TURN server.", "apt-get install coturn, or give an address with -turn"},
		{"chromium", []string{"chromium", "chromium-browser", "google-chrome"}, "Calls of a real browser are tested with it.", "apt-get install chromium"},
		{"ffmpeg", []string{"ffmpeg"}, "Clips, barcodes and recordings are decoded by it in tests.", "apt-get install ffmpeg"},
		{"docker", []string{"docker", "podman"}, "The mock's image is built and tried with it.", "install a container engine, or use the binary"},
	} {
		f := finding{Name: c.name, State: stateMissing, Found: "not on the path", Why: c.why, Do: c.do}
		for _, command := range c.commands {
			if path, err := m.look(command); err == nil {
				f.State, f.Found = stateOK, path
				break
			}
		}
		found = append(found, f)
	}
	return found
}
