package main

import (
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/go-sql-driver/mysql"
)

// startMySQL starts a MariaDB if no MySQL was given and there is one on the path,
// and makes a database that goes with the run. Without either c.mysql stays empty.
func (c *config) startMySQL() (func(), error) {
	stop := func() {}
	if c.mysql == "" {
		var err error
		if stop, err = c.startMariaDB(); err != nil || c.mysql == "" {
			return stop, err
		}
	}
	drop, err := c.makeDatabase()
	if err != nil {
		stop()
		return nil, err
	}
	return func() { drop(); stop() }, nil
}

func (c *config) startMariaDB() (stop func(), err error) {
	install, errInstall := exec.LookPath("mariadb-install-db")
	server, errServer := exec.LookPath("mariadbd")
	if errInstall != nil || errServer != nil {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "callbench-bench")
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	out, err := exec.Command(install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("make a database: %w: %s", err, out)
	}
	host, port, err := freeAddr()
	if err != nil {
		return nil, err
	}
	args := []string{"--no-defaults", "--datadir=" + data, "--bind-address=" + host, "--port=" + port,
		"--socket=" + filepath.Join(dir, "s"), "--pid-file=" + filepath.Join(dir, "pid"), "--skip-name-resolve"}
	if os.Geteuid() == 0 { // which it refuses to be unless told
		args = append(args, "--user=root")
	}
	c.mysql = "root@tcp(" + net.JoinHostPort(host, port) + ")/"
	return startService(dir, net.JoinHostPort(host, port), server, args...)
}

// makeDatabase makes a database of the run's own, and names it in c.mysql.
func (c *config) makeDatabase() (drop func(), err error) {
	at, err := mysql.ParseDSN(c.mysql)
	if err != nil {
		return nil, err
	}
	at.DBName = ""
	db, err := sql.Open("mysql", at.FormatDSN())
	if err != nil {
		return nil, err
	}
	name := fmt.Sprint("callbench_bench_", time.Now().UnixNano())
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		_ = db.Close()
		return nil, err
	}
	at.DBName = name
	c.mysql = at.FormatDSN()
	return func() {
		_, _ = db.Exec("DROP DATABASE " + name)
		_ = db.Close()
	}, nil
}
