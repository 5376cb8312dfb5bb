# Thin: each goal does its own set-up, CMake does the work.
#   make demo [MODEL=HFDIR] [PROMPT="..."]   three processes, one private answer
#   make test [JOBS=...]                     every suite, then the same under address and undefined-behaviour sanitizers
#   make test-long                          faults, floods, crowds and disturbances in full: about an hour
#   make test-valgrind | test-tsan          the programs under valgrind, the tests with threads under the thread sanitizer
#   make soak SECONDS=3600 SESSIONS=8         users without pause, a server that is killed at random; curves in build/soak.svg
#   make test-clients                       clients of others (npm) against the gateway; only where npm is reachable
#   make test-many CLIENTS=32 SECONDS=600   as many streaming clients at once for so long: errors, speed, memory; needs node;
#                                           CHECKPOINT=DIR for another model than the demo's
#   make test-page                          the chat page in a headless chromium; needs npm and chromium
#   make demo-netns                         docs/OPERATIONS.md as written, three network namespaces; root only
#   make deb | test-deb                     three Debian packages in build/deb; the latter, as root, installs, runs and removes them
#   make test-units                         as root, where systemd can be booted in namespaces: the units, started by it
#   make test-images                        as root, with podman: the images built, the compose file run; needs Debian's package mirror
#   make build | install PREFIX=... | clean | fuzz SECONDS=... [RUNS=...]
PREFIX ?= /usr/local
SECONDS ?= 60
RUNS ?= 0
SESSIONS ?= 8
CLIENTS ?= 32
JOBS ?= $(shell nproc)
MODEL ?=
PROMPT ?=
export MODEL PROMPT

.PHONY: demo demo-netns deb test test-release test-asan test-clang test-long test-valgrind test-tsan soak test-clients test-deb test-many test-page test-units test-images build install clean deps fuzz

demo: build
	@scripts/demo.sh

test: test-release test-asan

test-release: build
	ctest --preset release -j$(JOBS)

test-asan: deps
	cmake --preset asan >/dev/null
	cmake --build --preset asan
	ctest --preset asan -j$(JOBS)

test-clang: deps
	cmake --preset clang >/dev/null
	cmake --build --preset clang
	ctest --preset clang -j$(JOBS)

test-long: build
	scripts/test-long.sh build

test-valgrind: build
	scripts/install-deps.sh valgrind
	scripts/test-valgrind.sh build

test-tsan: build
	cmake --preset tsan >/dev/null
	cmake --build --preset tsan
	scripts/test-tsan.sh build build-tsan

soak: build
	STIP_SOAK_SECONDS=$(SECONDS) STIP_SOAK_SESSIONS=$(SESSIONS) STIP_SOAK_PLOT=build/soak.svg build/bin/e2e_test_soak -j1 --timeout 86400

test-clients: build
	cd tests/clients && npm install --no-audit --no-fund --package-lock=false --loglevel=error
	scripts/with-gateway.sh build sh -c 'node tests/clients/run.mjs "$$1/v1" && tests/clients/curl.sh "$$1"' - '{}'

test-many: build
	STIP_MEMORY_MB=128 CHECKPOINT=$(CHECKPOINT) scripts/with-gateway.sh build node tests/clients/many.mjs '{}/v1' $(CLIENTS) $(SECONDS)

test-page: build
	cd tests/page && npm install --no-audit --no-fund --package-lock=false --loglevel=error
	STIP_AUDIT=1 scripts/with-gateway.sh build node tests/page/page.mjs '{}'

build: deps
	@cmake --preset release >/dev/null
	cmake --build --preset release

demo-netns: build
	@scripts/demo-netns.sh build

deb: build
	cd build && cpack -G DEB

test-deb: build
	scripts/test-deb.sh build

test-units: build
	scripts/test-units.sh build

test-images:
	scripts/test-images.sh

install: build
	cmake --install build --prefix $(PREFIX)

fuzz: deps
	cmake --preset fuzz >/dev/null
	cmake --build --preset fuzz
	scripts/fuzz.sh build-fuzz $(SECONDS) $(RUNS)

deps:
	@scripts/install-deps.sh

clean:
	rm -rf build build-*
