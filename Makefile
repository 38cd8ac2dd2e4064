# `make demo` and `make test` do all their own set-up; nothing is installed outside this folder.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WHEELS := .cache/wheels
DIST := dist
GO := $(shell command -v go)
# The set-up's three parts; each is made when something needs it, and Go's where Go is.
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
GO_READY := $(if $(GO),$(VENV)/.ready-go)
# -trimpath, as `aperio plugin build` compiles: without it what is compiled counts for one folder only.
GO_CACHES := GOMODCACHE=$(CURDIR)/.cache/go GOCACHE=$(CURDIR)/.cache/go-build GOFLAGS="-modcacherw -trimpath"
GO_OFFLINE := $(GO_CACHES) GOPROXY=off PATH=$(CURDIR)/.cache/bin:$$PATH
GO_GENERATORS := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12 \
	google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
# Holds the plugin interface to its rules, and to what it was.
BUF := github.com/bufbuild/buf/cmd/buf@v1.75.0
# What the tests of plugins/nats-jetstream publish to.
NATS_SERVER := github.com/nats-io/nats-server/v2@v2.14.5
GO_PLUGINS := plugins/jsonl-file plugins/nats-jetstream plugins/aperio-postgres
GO_SOURCES := sdk/go bench/go tests/interop/go tests/sigstack/go $(wildcard $(GO_PLUGINS:%=%/*.go))
# A plugin by people who never saw this project; see tests/interop/test_third_party.py.
THIRD_PARTY := github.com/hashicorp/terraform-provider-time@v0.13.1
# After `make setup` nothing asks a package index or a module proxy: pip reads the wheel cache, go the
# module cache. Tests whose asserts pytest rewrote once are read from bytecode, also where the
# environment forbids to write it: each worker would rewrite all of them, at each run.
OFFLINE := PYTHONDONTWRITEBYTECODE= PIP_NO_INDEX=1 PIP_FIND_LINKS=$(CURDIR)/$(WHEELS) PIP_DISABLE_PIP_VERSION_CHECK=1 $(GO_OFFLINE)

# Two processes more than there are cores, because tests wait for processes that they start; the tests
# of a file stay together, because they share what is made once. Which begin: tests/conftest.py.
PARALLEL := -n $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 2)') --dist loadfile --no-loadscope-reorder

# Their files are made in memory, where there is room for half a million of them: see there.
TESTED := $(OFFLINE) $(if $(TMPDIR),,$(addprefix TMPDIR=,$(shell $(PYTHON) tests/roomy.py)))

.PHONY: help setup go-modules demo test test-again test-all soak sandbox-vm third-party sigstack fmt lint dist lock bench bench-host docs generate clean

help: ## show what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(READY) $(DEV_READY) $(GO_READY) ## make the virtual environment, fill the wheel and module caches

# What `make demo` and an author need: aperio, the SDK, the wheels of a plugin's dependencies.
# APERIO_RELEASE: the line names the SDK's folder itself, as editable; see hatch_build.py.
$(READY): pyproject.toml hatch_build.py sdk/python/pyproject.toml tests/fill_wheel_cache.py plugins/box/requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	APERIO_RELEASE=1 $(BIN)/python -m pip install --quiet --editable 'sdk/python[fast]' --editable '.[fast]' --group demo
	$(BIN)/python plugins/refresh_sdk.py plugins/box
	$(BIN)/python tests/fill_wheel_cache.py plugins
	touch $@

# What the tests and lint need, and the wheels that a test installs aperio itself from.
$(DEV_READY): $(READY)
	$(BIN)/python -m pip install --quiet --group dev
	$(BIN)/python plugins/refresh_sdk.py $(GO_PLUGINS)
	$(BIN)/python tests/fill_wheel_cache.py aperio
	touch $@

$(GO_READY): $(DEV_READY) sdk/go/go.mod Makefile
	$(MAKE) --no-print-directory go-modules
	touch $@

go-modules:
	# Again, for a plugin that has come since the stamp before was made: its go.mod names the SDK.
	$(BIN)/python plugins/refresh_sdk.py $(GO_PLUGINS)
	for plugin in $(GO_PLUGINS); do \
	  (cd $$plugin && $(GO_CACHES) $(GO) mod download) || exit 1; \
	done
	cd sdk/go && $(GO_CACHES) $(GO) mod download
	cd tests/interop/go && $(GO_CACHES) $(GO) mod download
	cd tests/interop/go && $(GO_CACHES) $(GO) mod download -modfile=legacy.mod
	cd tests/interop/go/sdk && $(GO_CACHES) $(GO) mod download
	cd tests/interop/go/connect && $(GO_CACHES) $(GO) mod download
	cd tests/interop/go/tlog && $(GO_CACHES) $(GO) mod download
	# Compiled once here, so that no test waits for it: with the flags of the tests and of `build`.
	# A folder with one program would get it written into: it goes nowhere.
	cd sdk/go && $(GO_CACHES) CGO_ENABLED=0 $(GO) test -count=1 -run '^$$' ./...
	for plugin in plugins/nats-jetstream plugins/aperio-postgres; do \
	  (cd $$plugin && $(GO_CACHES) CGO_ENABLED=0 $(GO) test -count=1 -run '^$$' ./... \
	    && $(GO_CACHES) CGO_ENABLED=0 $(GO) vet ./... \
	    && $(GO_CACHES) CGO_ENABLED=0 $(GO) build -o /dev/null ./...) || exit 1; \
	done
	cd tests/interop/go && $(GO_CACHES) CGO_ENABLED=0 $(GO) build -o /dev/null ./...
	cd tests/interop/go && $(GO_CACHES) CGO_ENABLED=0 $(GO) build -o /dev/null -modfile=legacy.mod -tags=legacy ./...
	cd tests/interop/go/sdk && $(GO_CACHES) CGO_ENABLED=0 $(GO) build -o /dev/null ./...
	cd tests/interop/go/connect && $(GO_CACHES) CGO_ENABLED=0 $(GO) build -o /dev/null ./...
	cd tests/interop/go/tlog && $(GO_CACHES) CGO_ENABLED=0 $(GO) build -o /dev/null ./...
	for generator in $(GO_GENERATORS); do \
	  $(GO_CACHES) GOBIN=$(CURDIR)/.cache/bin $(GO) install $$generator || exit 1; \
	done
	for program in $(BUF) $(NATS_SERVER); do \
	  $(GO_CACHES) CGO_ENABLED=0 GOBIN=$(CURDIR)/.cache/bin $(GO) install $$program || exit 1; \
	done

demo: $(READY) ## watch one plugin's whole life, end to end, offline
	@$(OFFLINE) $(BIN)/python tests/lifecycle/demo.py

test: setup ## the tests, under 10 minutes
	$(TESTED) $(BIN)/python -m pytest -m 'not slow' -q $(PARALLEL)

# For .ci/run: what failed once, alone. A test that passes now depends on its neighbours or on a busy
# machine, and its name stands in the log.
test-again: setup
	$(TESTED) $(BIN)/python -m pytest -m 'not slow' -q -rA --last-failed --last-failed-no-failures none

test-all: setup third-party sigstack ## the tests, the slow ones too, and what they cover
	APERIO_STARTS=1 $(TESTED) $(BIN)/python -m pytest -q $(PARALLEL) --cov --cov-report=
	$(BIN)/python tests/coverage_floor.py

soak: setup ## let 30 plugins crash at random for 10 minutes, under load
	$(OFFLINE) $(BIN)/python -m tests.soak

sandbox-vm: $(DEV_READY) ## the tests of the sandbox in a Debian guest, with systemd and cgroup v2
	$(BIN)/python .ci/sandbox_vm.py

third-party: setup
	$(if $(GO),$(GO_CACHES) CGO_ENABLED=0 GOBIN=$(CURDIR)/.cache/bin $(GO) install -buildvcs=false $(THIRD_PARTY))

sigstack: setup ## build the private Sigstore instance that slow tests run on (long, once)
	$(if $(GO),$(BIN)/python -m tests.sigstack.stack build)

fmt: $(DEV_READY) ## mend what can be mended without you
	$(BIN)/ruff check --fix --quiet || true
	$(BIN)/ruff format --quiet
	$(if $(GO),gofmt -w $(GO_SOURCES))

lint: setup ## ruff, mypy, gofmt, go vet, and that generated files are current
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy aperio_cli sdk/python/aperio_plugin plugins/box plugins/refresh_sdk.py tests bench proto/generate.py proto/generate_go.py hatch_build.py .ci
	$(if $(GO),test -z "$$($(GO) run cmd/gofmt -l $(GO_SOURCES))")
	$(if $(GO),cd sdk/go && $(GO_OFFLINE) $(GO) vet ./...)
	$(if $(GO),for plugin in $(GO_PLUGINS); do (cd $$plugin && $(GO_OFFLINE) $(GO) vet ./...) || exit 1; done)
	$(if $(GO),cd bench/go && $(GO_OFFLINE) $(GO) vet ./...)
	$(if $(GO),cd tests/interop/go/sdk && $(GO_OFFLINE) $(GO) vet ./...)

dist: $(DEV_READY) ## the wheels and sdists of a release, the same bytes everywhere
	.ci/build-release $(abspath $(BIN))/python $(abspath $(DIST))

lock: $(DEV_READY) ## lock aperio's dependencies anew, for the workflows of projects; asks the index
	$(BIN)/python .ci/lock_aperio.py

bench: setup ## measure, as ratios within one run
	$(OFFLINE) $(BIN)/python bench/run.py

bench-host: setup ## measure a host with a hundred plugins, for some minutes
	$(OFFLINE) $(BIN)/python bench/run.py --host

generate: setup ## make generated files again: protobuf code, completions, reference pages
	$(BIN)/python proto/generate.py
	$(if $(GO),$(GO_OFFLINE) $(BIN)/python proto/generate_go.py)
	$(BIN)/python docs/generate.py

docs: generate ## the reference pages, from the code

clean: ## remove what was made here
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache
