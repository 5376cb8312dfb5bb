# Thin: each goal does its own set-up, CMake does the work.
#   make demo [MODEL=HFDIR] [PROMPT="..."]   three processes, one private answer
#   make test                                every suite, then the same under address and undefined-behaviour sanitizers
#   make build | install PREFIX=... | clean | fuzz SECONDS=...
PREFIX ?= /usr/local
SECONDS ?= 60
MODEL ?=
PROMPT ?=
export MODEL PROMPT

.PHONY: demo test test-release test-asan test-clang build install clean deps fuzz

demo: build
	@scripts/demo.sh

test: test-release test-asan

test-release: build
	ctest --preset release -j1

test-asan: deps
	cmake --preset asan >/dev/null
	cmake --build --preset asan
	ctest --preset asan -j1

test-clang: deps
	cmake --preset clang >/dev/null
	cmake --build --preset clang
	ctest --preset clang -j1

build: deps
	@cmake --preset release >/dev/null
	cmake --build --preset release

install: build
	cmake --install build --prefix $(PREFIX)

fuzz: deps
	cmake --preset fuzz >/dev/null
	cmake --build --preset fuzz
	scripts/fuzz.sh build-fuzz $(SECONDS)

deps:
	@scripts/install-deps.sh

clean:
	rm -rf build build-*
