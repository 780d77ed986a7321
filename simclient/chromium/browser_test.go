package chromium

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// dies makes this test's binary start a Chromium and wait to be killed.
const dies = "CALLBENCH_TEST_CHROMIUM_DIES"

func TestMain(m *testing.M) {
	if os.Getenv(dies) == "" {
		os.Exit(m.Run())
	}
	b, err := Start()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(b.dir)
	select {}
}

func needChromium(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a browser; run without -short")
	}
	if _, err := Find(); err != nil {
		t.Skip(err)
	}
}

// users are the processes that have a profile in their command line.
func users(profile string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		line, err := os.ReadFile(f)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err == nil && strings.Contains(string(line), profile) && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// gone waits until nothing is left of a browser.
func gone(t *testing.T, profile string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		_, err := os.Stat(profile)
		pids := users(profile)
		if os.IsNotExist(err) && len(pids) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left are processes %v, and the profile: %v", pids, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestBrowserCloses(t *testing.T) {
	needChromium(t)
	b, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.Version(), "Chrome/") {
		t.Errorf("the browser is %q", b.Version())
	}
	if len(users(b.dir)) == 0 {
		t.Error("no process has the browser's profile")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	gone(t, b.dir)
}

// A run that is killed leaves neither processes nor a profile.
func TestBrowserEndsWithAKilledRun(t *testing.T) {
	needChromium(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), dies+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	profile, err := bufio.NewReader(out).ReadString('\n')
	profile = strings.TrimSpace(profile)
	if err != nil || !filepath.IsAbs(profile) {
		t.Fatal(profile, err)
	}
	if len(users(profile)) == 0 {
		t.Error("no process has the browser's profile")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	gone(t, profile)
}
