# The targets for people. `check`, `lint`, `doc`, `build` and `deb` install nothing; `setup` does (tests/setup.sh), and the tests run
# it first.

CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

# Where Cargo builds: CARGO_TARGET_DIR, build.target-dir of a configuration, or target.
BUILT = $(shell $(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

# What the package is made of: `make deb PROFILE=dev` is quicker.
PROFILE ?= release

.PHONY: need check deny demo test nodes-test vm-test vm-power k8s-test histories model seeded static static-test dist reproducible nightly vagrant-test setup-vm setup-k8s setup-vagrant setup-release lint doc docs bench fuzz build deb sysext setup help

help:
	@echo "make demo   run five agents on this machine, which roll out an update one at a time (under a minute)"
	@echo "make check  check format, lints and unit tests; installs nothing, needs no root"
	@echo "make setup  list and install what the other targets need (as root or by sudo)"
	@echo "make deny   check licences, sources and advisories of the crates, with cargo-deny"
	@echo "make test   check format, lints and docs, and run all unit and integration tests"
	@echo "make docs   make the documentation's site, target/docs/index.html, with mdBook (built once, some minutes)"
	@echo "make bench  measure an etcd transaction, a hand-over, an idle agent, a switch of slots, a cloud-config, the HTTP server and commands in a large group"
	@echo "make fuzz   fuzz documents, applies and partition tables: FUZZ_SECONDS=300 for each target, or for FUZZ=one"
	@echo "make nodes-test  test a cluster of booted containers with the package (as root)"
	@echo "make vm-test     test emulated machines: panics, hangs, a watchdog (as root; minutes)"
	@echo "make vm-power    test two emulated machines whose power is cut at twenty seeded moments (as root)"
	@echo "make k8s-test    test the hook for Kubernetes against a real API server (builds it once: minutes; not part of CI)"
	@echo "make histories   test ten times as many random histories of the agent as make test does"
	@echo "make model       explore all that can happen to some small fleets, by the rules of the reboot lock (FLEET=one of them)"
	@echo "make seeded      test that known safety bugs, put into the code, are found (docs/explanation/track-record.md)"
	@echo "make reproducible  make a release twice, in different places, and compare it byte for byte (some ten minutes)"
	@echo "make nightly     run what takes long: vm-power, k8s-test, histories, model, seeded, dist, static-test and reproducible"
	@echo "make vagrant-test  test three machines set up by vagrant: a roll-out, a rollback, a bad image (as root; by hand)"
	@echo "make build  build the release binary, release/pointsman in Cargo's target folder (target, or CARGO_TARGET_DIR)"
	@echo "make deb    build Debian's package, target/deb/pointsman_*.deb"
	@echo "make sysext build an image for systemd-sysext, target/sysext/pointsman-*.raw (Flatcar; needs mksquashfs)"
	@echo "make static build a program that needs no library of the system, target/static/pointsman-*.tar.xz (musl)"
	@echo "make static-test  test the static program on real etcd, with TLS, names and a bus"
	@echo "make dist   make all that a release consists of in target/dist, with SHA256SUMS, and check the packages with lintian"

setup:
	@sh tests/setup.sh

setup-vm:
	@sh tests/setup.sh vm

setup-k8s:
	@sh tests/setup.sh k8s

setup-vagrant:
	@sh tests/setup.sh vagrant

setup-release:
	@sh tests/setup.sh release

need:
	@sh tests/need.sh

build: need
	packaging/build.sh release

deb: need
	from=$$(packaging/build.sh $(PROFILE)) && packaging/deb.sh "$$from" target/deb

# The image for systemd-sysext, of the same program.
sysext: need
	from=$$(packaging/build.sh $(PROFILE)) && packaging/sysext.sh "$$from" target/sysext

# For this machine's architecture: ring is built by musl's own C compiler.
MUSL = $(shell uname -m)-unknown-linux-musl

static: setup-release
	pages=$$(packaging/build.sh release) && from=$$(packaging/build.sh release $(MUSL)) && \
		PAGES="$$pages/pointsman-pages" packaging/static.sh "$$from" target/static

dist: setup-release
	rm -rf target/dist
	packaging/dist.sh target/dist
	lintian --allow-root --display-info --tag-display-limit 0 --fail-on error,warning,info target/dist/*.deb

# The tests of what is another in the static program: names, TLS, accounts and passwords of etcd, the bus.
static-test: setup setup-release
	from=$$(packaging/build.sh release $(MUSL)) && \
		TEST_PROGRAM="$$from/pointsman" $(CARGO) test --quiet --test it -- \
			endpoints_are_looked_up etcd_failures:: agent_reload:: update_engine_client:: locksmith::

reproducible: setup-release
	packaging/reproducible.sh

demo: setup
	$(CARGO) build --quiet --workspace --bins
	$(BUILT)/debug/demo

lint: need
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings

doc: need
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --workspace --no-deps

# The site of docs/: target/docs/index.html.
docs:
	@sh tests/setup.sh docs
	docs/build.sh target/mdbook/bin/mdbook target/docs

# The quick tier: nothing is installed, no other program is needed. What needs a bus is in modules of that name, and runs with
# the others under `make test`.
check: lint
	$(CARGO) test --quiet --workspace --exclude pointsman-nodes --exclude pointsman-vm --exclude pointsman-testbed --lib -- \
		--skip on_a_bus

# Advisories need the network; without it the rest is checked.
deny:
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny --workspace check bans licenses sources
	@if $(CARGO) deny fetch >/dev/null 2>&1; then $(CARGO) deny --workspace check advisories; \
		else echo "The advisories were not checked: their database cannot be downloaded." >&2; fi

# Everything is built for the whole workspace: for some packages alone Cargo chooses other features of the libraries, and builds these
# once more.
INTEGRATION = --test it --test panic --test calendar

# Most tests wait for etcd, not for the processor: more of them than cores run side by side.
test: setup lint doc
	$(CARGO) test --quiet --workspace --lib --bins $(INTEGRATION) --no-run
	$(CARGO) build --quiet --workspace --bins
	$(BUILT)/debug/release_before
	$(CARGO) test --quiet --workspace --lib --bins $(INTEGRATION) -- --test-threads 6
	$(CARGO) test --quiet --workspace --test one
	$(CARGO) test --quiet --doc

# Each test boots a cluster of its own.
nodes-test: setup
	$(CARGO) build --quiet --workspace --bins
	$(CARGO) test --quiet --workspace --test cluster -- --test-threads 3

# Two machines at a time: each is emulated by two threads.
vm-test: setup-vm
	$(CARGO) build --quiet --workspace --bins
	$(CARGO) test --quiet --workspace --test boots --test cloud_config --test vagrant -- --test-threads 2

# Some half hour.
vm-power: setup-vm
	$(CARGO) build --quiet --workspace --bins
	$(CARGO) test --workspace --test power -- --nocapture

# A minute, and the first time some seven more: an API server is built in a cache outside the tree.
k8s-test: setup-k8s
	tests/kubernetes/try.sh

# Ten times as many random histories of the agent as `make test` has: one that fails may come once in five thousand. Some minutes.
histories:
	PROPTEST_CASES=40000 $(CARGO) test --quiet --workspace --lib -- random_histories

# All fleets of the table in src/agent/machine/tests/fleet/model/fleets.rs; `make test` explores some of them. Some minutes.
model:
	FLEET="$(FLEET)" $(CARGO) test --quiet --workspace --lib -- --nocapture small_fleets_keep_every_rule_in_every_state

# Known safety bugs, each put into a copy of the code: the test that must find it. A build each, some ten minutes.
seeded: setup
	tests/seeded/run.sh target/seeded

# What takes too long for each change.
nightly: vm-power k8s-test histories model seeded dist static-test reproducible

# A minute a node to come up, and one a reboot, where nothing else runs. Not part of what CI runs.
vagrant-test: setup-vagrant
	$(CARGO) build --quiet --workspace --bins
	tests/vm/box/try.sh $(BUILT)/debug

bench: setup build
	$(CARGO) bench --quiet --profile measure --bench handover --bench flip --bench cloud_config --bench serve --bench commands

# LLVM's coverage passes are in every toolchain. It begins with the examples and what was of use before; an input that fails
# is left under fuzz/target/failures, and given to the program of its target it fails again.
FUZZ ?= cloud_config cloud_config_apply table
FUZZ_SECONDS ?= 300
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_FLAGS = -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares

fuzz:
	@sh tests/setup.sh fuzz
	cd fuzz && RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --quiet --release --target $(HOST)
	set -e; for target in $(FUZZ); do \
		mkdir -p fuzz/target/corpus/$$target fuzz/target/failures/$$target; \
		fuzz/target/$(HOST)/release/$$target -max_total_time=$(FUZZ_SECONDS) -timeout=25 -rss_limit_mb=2048 \
			-artifact_prefix=fuzz/target/failures/$$target/ fuzz/target/corpus/$$target cloud-config; \
	done
