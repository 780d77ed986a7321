package store_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/callbench/callbench/server/store"
)

func TestParseRedis(t *testing.T) {
	for text, want := range map[string]struct {
		addr, user, password, name string
		db                         int
		secure                     bool
	}{
		"10.1.0.6:6379":                          {addr: "10.1.0.6:6379", name: "10.1.0.6:6379"},
		"[::1]:6379":                             {addr: "[::1]:6379", name: "[::1]:6379"},
		"redis://10.1.0.6":                       {addr: "10.1.0.6:6379", name: "redis://10.1.0.6:6379/0"},
		"redis://:geheim@r.example.com:6380/3":   {addr: "r.example.com:6380", password: "geheim", name: "redis://r.example.com:6380/3", db: 3},
		"rediss://calls:ge%40heim@r.example.com": {addr: "r.example.com:6379", user: "calls", password: "ge@heim", name: "rediss://r.example.com:6379/0", secure: true},
	} {
		c, err := store.ParseRedis(text)
		if err != nil || c.Addr != want.addr || c.Username != want.user || c.Password != want.password || c.DB != want.db ||
			(c.TLS != nil) != want.secure || c.String() != want.name {
			t.Errorf("%s: %s, %v", text, c, err)
		}
	}
}

// Whatever is wrong with an address, why it is refused tells nobody the password.
func TestParseRedisRefuses(t *testing.T) {
	for _, text := range []string{"geheim@10.1.0.6", "calls:geheim@10.1.0.6:6379", "10.1.0.6", "10.1.0.6:6379/geheim", ":6379",
		"redis://calls:ge/heim@10.1.0.6", "redis://:12/geheim@10.1.0.6", "redis://calls:geheim%zz@10.1.0.6", "redis://:geheim@10.1.0.6/geheim",
		"redis://:geheim@10.1.0.6/1/2", "redis://10.1.0.6?password=geheim", "redis://:geheim@10.1.0.6/0?skip_verify=true", "redis://:ge#heim@10.1.0.6",
		"http://:geheim@10.1.0.6", "redis://:geheim@10.1.0.6/-1", "redis://:geheim@"} {
		c, err := store.ParseRedis(text)
		if err == nil || strings.Contains(err.Error(), "heim") {
			t.Errorf("%s: %s, %v", text, c, err)
		}
	}
}

// usable reports whether a State at that address keeps a session.
func usable(t *testing.T, cfg store.RedisConfig) error {
	t.Helper()
	r := store.NewRedis(cfg)
	defer func() { must(t, r.Close()) }()
	if err := r.Ping(t.Context()); err != nil {
		return err
	}
	rec := place{State: r}.session("alice")
	must(t, r.PutSession(t.Context(), rec))
	_, ok, err := r.GetSession(t.Context(), rec.SessionID)
	if err == nil && !ok {
		t.Error("the session is not there")
	}
	return err
}

func parsed(t *testing.T, text string) store.RedisConfig {
	t.Helper()
	cfg, err := store.ParseRedis(text)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// tries are addresses of one Redis, of which only the one with the right user and
// password is good.
func tries(t *testing.T, scheme, addr string, trust *tls.Config) {
	t.Helper()
	for who, good := range map[string]bool{"calls:geheim@": true, "calls:geheimer@": false, "others:geheim@": false, "": false} {
		cfg := parsed(t, scheme+"://"+who+addr+"/2")
		if cfg.TLS != nil {
			cfg.TLS.RootCAs = trust.RootCAs
		}
		err := usable(t, cfg)
		if (err == nil) != good || err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s as %q: %v", cfg, who, err)
		}
	}
}

func TestRedisPassword(t *testing.T) {
	m := miniredis.RunT(t)
	m.RequireUserAuth("calls", "geheim")
	tries(t, "redis", m.Addr(), nil)
	if keys := m.DB(2).Keys(); len(keys) == 0 {
		t.Error("database 2 is empty")
	}
}

func TestRedisTLS(t *testing.T) {
	m := miniredis.NewMiniRedis()
	cert, trust := certificate(t)
	must(t, m.StartTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
	t.Cleanup(m.Close)
	m.RequireUserAuth("calls", "geheim")
	tries(t, "rediss", m.Addr(), trust)
	if err := usable(t, parsed(t, "rediss://calls:geheim@"+m.Addr())); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody known is trusted: %v", err)
	}
}

// TestServiceRedisTLS is TestRedisTLS on a real Redis.
func TestServiceRedisTLS(t *testing.T) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not on the path")
	}
	cert, trust := certificate(t)
	dir := t.TempDir()
	writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", cert.Certificate[0])
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	must(t, err)
	writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", key)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := ln.Addr().String()
	must(t, ln.Close())
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(program, "--bind", "127.0.0.1", "--port", "0", "--tls-port", port, "--tls-cert-file", filepath.Join(dir, "cert.pem"),
		"--tls-key-file", filepath.Join(dir, "key.pem"), "--tls-auth-clients", "no", "--dir", dir, "--save", "", "--user", "calls", "on", ">geheim", "~*", "&*", "+@all",
		"--user", "default", "off")
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for i := 0; ; i++ {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			must(t, c.Close())
			break
		}
		if i == 500 {
			t.Fatal("redis-server does not start")
		}
		<-time.After(20 * time.Millisecond)
	}
	tries(t, "rediss", addr, trust)
}

// certificate is one for 127.0.0.1 that nobody knows, and who trusts it.
func certificate(t *testing.T) (tls.Certificate, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	must(t, err)
	read, err := x509.ParseCertificate(der)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(read)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}
