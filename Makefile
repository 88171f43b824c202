# The menu. People and CI call the same targets.

CARGO ?= cargo
VIDEO ?=
OUT ?= demo-output
# Cargo may be told to build elsewhere.
TARGET := $(or $(CARGO_TARGET_DIR),target)
OPT := layers/ffmpeg/build/opt
SAMPLE := target/demo/sample.mp4
# The command line and the functions: not the tests' and the examples' programs.
PROGRAMS := --package cli $(patsubst functions/%/,--package %,$(wildcard functions/*/)) --bins

# What `make package` builds with and for, and where the programs are afterwards (docs/deploy.md). For another kind of machine than
# this one, plain cargo makes nothing of use: BUILD says how, or BINARIES where they are.
ARCHITECTURE ?= x86_64
ifeq ($(ARCHITECTURE),$(patsubst aarch64,arm64,$(shell uname -m)))
BUILD ?= $(CARGO) build
BINARIES ?= $(TARGET)/release
endif
# None: the pinned one is fetched.
LAYER ?=
PACKAGE := target/package
PACKAGED = --binaries "$(BINARIES)" $(if $(LAYER),--layer "$(LAYER)") --architecture "$(ARCHITECTURE)"

.PHONY: help demo up test bench lint layer tools package chaos

help:
	@echo "make demo      a video from upload to a finished, verified ladder (VIDEO=path for your own, OUT=folder)"
	@echo "make up        the platform on 127.0.0.1:4566; stays until ctrl-c"
	@echo "make test      every test, with its own set-up"
	@echo "make chaos     48 kills of functions, ffmpeg and the platform, on two clouds, and every shortage; a few of them are in make test"
	@echo "make bench     CPU-seconds, ratios and latencies against plain ffmpeg"
	@echo "make package   what sam deploy takes: functions, layer and template"
	@echo "make lint      formatting and clippy, warnings are errors"

# ffmpeg and ffprobe, pinned by hash; quick when they are there.
layer:
	@python3 layers/ffmpeg/build.py

demo: layer
	$(CARGO) build --release --locked $(PROGRAMS)
ifeq ($(strip $(VIDEO)),)
	@python3 demo/sample.py $(OPT)/bin/ffmpeg "$(SAMPLE)"
	"$(TARGET)/release/fanreel" transcode "$(SAMPLE)" -o "$(OUT)"
else
	"$(TARGET)/release/fanreel" transcode -o "$(OUT)" -- "$(VIDEO)"
endif

up: layer
	$(CARGO) build --release --locked $(PROGRAMS)
	"$(TARGET)/release/fanreel" up

# What the tests speak to the platform with and play its results in, pinned, in a folder of the project's own.
tools:
	@python3 tests/tools.py

# The tools are installed as text: each part of them is compiled when it is first used, or else by each of some hundred programs anew.
# What is fetched is fetched while cargo builds. Nothing is kept for a build that goes on from this one: that takes a tenth longer.
test: export CARGO_INCREMENTAL ?= 0
test:
	@{ python3 layers/ffmpeg/build.py && python3 tests/tools.py; } & fetched=$$!; \
	trap 'trap - TERM; kill 0' INT TERM; \
	$(CARGO) build --locked --workspace --all-targets; built=$$?; \
	wait $$fetched && exit $$built
	env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX="$(CURDIR)/.tools/compiled" $(CARGO) test --locked --workspace

package:
	@python3 deploy/package.py --check $(if $(BUILD),--build) $(PACKAGED)
	$(if $(LAYER),,@python3 layers/ffmpeg/build.py --arch "$(ARCHITECTURE)" --no-zip)
	$(if $(BUILD),$(BUILD) --release --locked $(PROGRAMS))
	python3 deploy/package.py $(PACKAGED) --to "$(PACKAGE)"

# Twelve kills in each of three modes and on another cloud; FANREEL_SEED repeats the moments of an earlier run.
chaos: layer
	$(CARGO) build --locked --workspace --bins
	FANREEL_CHAOS_KILLS=12 FANREEL_CHAOS_SECONDS=24 $(CARGO) test --locked --workspace --test crash -- --nocapture chaos

bench: layer
	$(CARGO) build --release --locked --workspace --bins
	python3 bench/bench.py

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
