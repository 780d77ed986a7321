# The commands of the README, CI and developers.

GO ?= go
SEED ?= 1

.PHONY: test short sim repeats loop service kill browser lint bench model fuzz build image images gate

test: lint ## everything that this machine can run
	$(GO) test -race -timeout 20m $(TESTFLAGS) ./...

short: ## unit tests alone, in seconds
	$(GO) test -short ./...

sim: ## the suite in virtual time
	$(GO) test -race -run TestSim ./scenarios/world

REPEATS ?= 20
repeats: ## every scenario REPEATS times in virtual time, with equal traces
	CALLBENCH_REPEATS=$(REPEATS) $(GO) test -timeout 30m -run TestRepeats ./scenarios/world

loop: ## the suite on real loopback sockets
	$(GO) test -run TestLoop ./scenarios/world

service: ## against real services, from the addresses in CALLBENCH_KMS_URL, CALLBENCH_REDIS_ADDR, …
	$(GO) test -run 'TestService|TestConform' ./...

KILL_CALLS ?= 50
kill: ## kill -9 of server, Redis, MariaDB and media server in turn while KILL_CALLS calls run
	CALLBENCH_KILL_CALLS=$(KILL_CALLS) $(GO) test -timeout 20m -run TestServiceKill -v ./cmd/callbench

browser: ## in a real Chromium, from the path
	$(GO) test -run TestBrowser ./...

lint: ## format, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-ed:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

bench: ## hot paths with allocations, and the server beside a plain hub, with calls if CALLBENCH_KMS_URL is given
	$(GO) test -run '^$$' -bench . -benchmem ./...
	$(GO) run ./internal/bench

PLANS ?= 20000
model: ## PLANS plans of what users, devices and networks do, against the rules of calls and rooms
	RAPID_CHECKS=$(PLANS) $(GO) test -timeout 60m -run '^TestModel$$' -v ./server

FUZZTIME ?= 30s
fuzz: ## every fuzz test for FUZZTIME
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep ^Fuzz); do \
	  echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done

build: ## the binary, which needs no library
	CGO_ENABLED=0 $(GO) build -trimpath -o callbench ./cmd/callbench

IMAGE ?= callbench/kmsmock
image: ## the mock media server as a container image; DOCKER_HOST chooses the engine
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o "$$dir/callbench" ./cmd/callbench && \
	docker build -q -f deploy/kmsmock/Dockerfile -t $(IMAGE) "$$dir"

images: ## images of the parts around a media server, from Debian packages
	deploy/images/build.sh

GATEFLAGS ?=
gate: build ## what a release has to pass, on a system in containers (docs/containers.md); GATEFLAGS go to callbench gate
	./callbench gate $(GATEFLAGS)
