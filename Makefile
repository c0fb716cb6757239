# Everything that people and CI do with this repository. `make` lists it.

GO ?= go

# Our own programs; Go itself knows what has changed.
PROGRAMS := ./starter ./worker

# The module's own packages; nested modules (tools, the Temporal server, the
# compose check) have their own.
COMPOSECHECK := internal/devstack/composecheck

# Pinned in tools/go.mod.
LINT         := bin/golangci-lint
WORKFLOWLINT := bin/workflowcheck
STRIPEMOCK   := bin/stripe-mock

# How long a test binary may take. The whole suite takes far less.
TEST_TIMEOUT ?= 15m

.PHONY: help
help: ## list what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

## Running

.PHONY: demo
demo: prepare ## run the main job, start to finish, on the embedded stack (ARGS=--exit to stop it when done)
	@bin/starter demo $(ARGS)

.PHONY: dev
dev: prepare ## run the embedded stack in the foreground (ARGS='--data-dir D --env-file F')
	@bin/starter dev $(ARGS)

## Building

.PHONY: build
build: ## build bin/starter and bin/worker
	$(GO) build -o bin/ $(PROGRAMS)

.PHONY: prepare
prepare: build
	@bin/starter dev prepare

## Checking

# Never from the cache: many tests run the programs, which Go's cache of test
# results does not see change.
.PHONY: test
test: prepare $(STRIPEMOCK) ## run every test, starting what it needs
	$(GO) test -count=1 -timeout $(TEST_TIMEOUT) ./...
	$(GO) test -C $(COMPOSECHECK) -count=1 -timeout $(TEST_TIMEOUT) ./...

# Each fuzzer by itself: Go runs one at a time. Bounded by a number of inputs,
# since a bound in time can itself fail a run on a busy machine.
FUZZERS  := usage:FuzzDecode usage:FuzzTheShortcutAgrees usage:FuzzScan usage:FuzzElements otlp:FuzzRead pricebook:FuzzParse billing:FuzzRate billing:FuzzNormalizeID
FUZZTIME ?= 10000x

.PHONY: fuzz
fuzz: ## look for input that breaks the readers or the rating (FUZZTIME=10000x each, or 10m)
	@for fuzzer in $(FUZZERS); do \
		$(GO) test -run '^$$' -fuzz "^$${fuzzer#*:}$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x ./internal/$${fuzzer%:*} || exit 1; \
	done

.PHONY: check
check: fmt-check vet lint imports guarantees workflowcheck ## format, vet, lint, import rules, tests of the guarantees, workflow determinism

.PHONY: fmt-check
fmt-check: $(LINT)
	$(LINT) fmt --diff

.PHONY: vet
vet: # compiles the tests, too
	$(GO) vet ./...
	$(GO) vet -C $(COMPOSECHECK) ./...
	$(GO) mod verify >/dev/null

.PHONY: lint
lint: $(LINT) # not the Temporal server's module: its dependencies take minutes
	$(LINT) run
	$(LINT) run --build-tags faultpoints ./internal/faultpoint
	cd $(COMPOSECHECK) && $(CURDIR)/$(LINT) run

.PHONY: imports
imports:
	tools/imports

.PHONY: guarantees
guarantees:
	tools/guarantees

.PHONY: workflowcheck
workflowcheck: $(WORKFLOWLINT)
	$(WORKFLOWLINT) ./workflows/...

.PHONY: year
year: prepare ## let a hundred organisations live through a year, and count every token again (ORGS=100)
	ARREARS_YEAR_ORGS=$(or $(ORGS),100) $(GO) test ./internal/acceptance -run TestAYear -count=1 -timeout 2h -v

.PHONY: bench
bench: prepare ## measure our speed beside what we stand on (ARGS='-only import,http,hot,checks,notices,memory,close')
	@$(GO) run ./internal/bench $(ARGS)

.PHONY: fmt
fmt: $(LINT) ## format the source
	$(LINT) fmt

## Tools

$(LINT): tools/go.mod tools/go.sum
	$(GO) build -C tools -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(WORKFLOWLINT): tools/go.mod tools/go.sum
	$(GO) build -C tools -o ../$@ go.temporal.io/sdk/contrib/tools/workflowcheck

$(STRIPEMOCK): tools/go.mod tools/go.sum
	$(GO) build -C tools -o ../$@ github.com/stripe/stripe-mock

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
