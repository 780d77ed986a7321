// Command idle is what runs in the containers of the tests: nothing.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	wait := make(chan os.Signal, 1)
	signal.Notify(wait, syscall.SIGUSR1)
	<-wait
}
