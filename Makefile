# Everything here needs Go, make and git, nothing else. The programs of the
# control plane are built once into the user's cache directory.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unreleased)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOBIN   ?= $(shell go env GOPATH)/bin

# The linter is built once into the user's cache directory, by its version.
GOLANGCI_VERSION := v2.15.0
CACHE            := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kubectl-ambient
GOLANGCI         := $(CACHE)/tools/golangci-lint-$(GOLANGCI_VERSION)/golangci-lint

MODULES := . test/controlplane test/e2e

.PHONY: help build install test unit controlplane e2e faults mutants bench fuzz soak transcript demo up down lint fmt dist clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/kubectl-ambient
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/kubectl-ambient ./cmd/kubectl-ambient

install: build ## Put the plugin where go install puts programs
	install -d '$(GOBIN)'
	install -m 0755 bin/kubectl-ambient '$(GOBIN)/kubectl-ambient'

test: unit controlplane e2e ## Run the tests: unit tests, then those on a real control plane

unit:
	go test ./...

mutants: ## Plant mistakes in what judges policies: some test has to find each
	go run ./internal/mutants

bench: ## Time the plan and verify for large namespaces, and an enrolment against typing it
	GOMAXPROCS=1 go test ./pkg/plan -run '^$$' -bench PlanAccess -benchtime 3x
	cd test/e2e && go test -run '^$$' -bench Enroll -benchtime 2x .
	cd test/e2e && go test -run '^$$' -bench Verify -benchtime 5x -timeout 30m .

# How long each of the fuzz tests looks for inputs. Those that it starts from are
# ordinary tests, too, and run with unit.
FUZZTIME ?= 30s
FUZZ     := mesh/FuzzReadFiles mesh/FuzzRedact mesh/FuzzNewSnapshot checks/FuzzChecks

fuzz: ## Look for input that breaks what reads and judges a mesh
	@for target in $(FUZZ); do \
		go test ./pkg/$${target%/*} -run '^$$' -fuzz "^$${target#*/}\$$" -fuzztime '$(FUZZTIME)' -fuzzminimizetime 10x || exit 1; \
	done

# All programs take memory for time: a quarter of the time of the unit tests.
unit mutants controlplane e2e faults: export GOGC = 300

# Two at a time: each starts a control plane of its own, and mostly waits for it, as the
# tests of test/e2e do.
controlplane:
	cd test/controlplane && go run ./cmd/controlplane build --all
	cd test/controlplane && go test -p 2 -timeout 20m ./...

# The tests in which something goes wrong with runs at many of their places, again and
# again, those that plant what verify has to find, and those that need an installation
# unlike others. They are as many as all others, so that they are not among what everybody
# runs before each change; what decides whether a change lands runs both. That a run can be killed at each of its writes is in e2e as well,
# for a small namespace, and so is verify after every enrolment.
FAULTS := TestKilled/^(policies|replaced)$$|^(TestVerifyFaults|TestVerifyAgainstWhatWas|TestVerifyFindsWhatWasLost|TestProbe|TestNewcomersAreGuarded|TestVerifyReadsAccessLogs|TestOtherInstallations|TestGateBetweenWorkloads|TestEnrollWaitsForAllThatVerifyAsks|TestRestartsByHandKilled|TestSimplifyKilled|TestMeddled|TestReverted|TestEditedBetweenRuns|TestWaypointComesToBeUsed|TestResumeAfterAnotherWasUndone|TestStorm|TestSpoilt|TestOutage|TestOutageOfOneSide|TestDisturbed|TestWaypointFails|TestNeverReady|TestPodsThatEndLate|TestDeadlineExceeded|TestCaptureFails|TestNamespaceBeingDeleted|TestTwoAtOnce|TestTwoEnrolments|TestClocksApart|TestHandoverIsLost|TestHandoverComesBack)$$

e2e: controlplane
	cd test/e2e && go test -parallel 12 -timeout 45m -skip '$(FAULTS)' ./...

faults: ## Run the tests in which runs are killed and disturbed, and faults are planted
	cd test/controlplane && go run ./cmd/controlplane build --all
	cd test/e2e && go test -parallel 12 -timeout 45m -run '$(FAULTS)' ./...

# How often soak runs the end-to-end tests, and how many random meshes it migrates:
# a hundred make a million and more decisions, and take half an hour on two cores.
# Runs of larger namespaces are killed, and meddled with, at each of their writes, both
# ways.
COUNT         ?= 5
ACCESS_MESHES ?= 2000

soak: ## Run the end-to-end tests over and over, and migrate many random meshes
	cd test/e2e && ACCESS_MESHES=$(ACCESS_MESHES) go test -count=1 -timeout 24h -run TestAccess .
	cd test/e2e && EVERY_WRITE=yes go test -count=$(COUNT) -parallel 8 -timeout $$((60 * $(COUNT)))m -skip TestAccess ./...

# What istiod decides in this many random meshes is kept for the tests of the access model.
TRANSCRIPT_MESHES ?= 8

transcript: ## Ask a running istiod anew what unit tests hold the access model against
	cd test/e2e && ACCESS_TRANSCRIPT='$(CURDIR)/pkg/access/testdata/istiod.json.gz' ACCESS_SEED=1 ACCESS_MESHES=$(TRANSCRIPT_MESHES) \
		go test -count=1 -timeout 1h -run 'TestAccess$$' .

demo: build ## Move a namespace there and back on a real control plane, and show it
	./test/demo.sh

up: build ## Start a control plane with Istio to play with
	@cd test/controlplane && go run ./cmd/controlplane up
	@echo "export PATH=$(CURDIR)/bin:$$(cd test/controlplane && go run ./cmd/controlplane build):\$$PATH"

down: ## Stop it
	@cd test/controlplane && go run ./cmd/controlplane down

lint: $(GOLANGCI) ## Check style and the usual mistakes
	@for module in $(MODULES); do (cd $$module && '$(GOLANGCI)' run --config '$(CURDIR)/.golangci.yaml' ./...) || exit 1; done

$(GOLANGCI):
	GOBIN='$(dir $(GOLANGCI))' go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

fmt: $(GOLANGCI) ## Format the code
	@for module in $(MODULES); do (cd $$module && '$(GOLANGCI)' fmt --config '$(CURDIR)/.golangci.yaml' ./...) || exit 1; done

dist: ## Build the archives and the krew manifest of VERSION into dist/
	./krew/dist.sh '$(VERSION)'

clean: ## Remove what was built here
	rm -rf bin dist
