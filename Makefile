# img: the commands a person types. Each target says in `make help` what it does; the work is in scripts/.

PREFIX  ?= /usr/local
DESTDIR ?=

BINDIR  = $(DESTDIR)$(PREFIX)/bin
DATADIR = $(DESTDIR)$(PREFIX)/share
BASHDIR = $(DATADIR)/bash-completion/completions
ZSHDIR  = $(DATADIR)/zsh/site-functions
FISHDIR = $(DATADIR)/fish/vendor_completions.d
MANDIR  = $(DATADIR)/man/man1

CARGO  ?= cargo
TARGET  = $(or $(CARGO_TARGET_DIR),target)
# The workspace builds for the host target by name (.cargo/config.toml), so the folder has the target's name in it.
HOST    = $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
RELEASE = $(TARGET)/$(HOST)/release/img
RUNTIME = $(TARGET)/$(HOST)/release/img-runtime

.DEFAULT_GOAL := help
.PHONY: help build demo test check bench vm sweep power fuzz crowd install uninstall clean toolchain

help: ## show this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'
	@echo
	@echo "  PREFIX=$(PREFIX)  DESTDIR=$(DESTDIR)"

toolchain:
	@scripts/need-rust

build: toolchain ## build the release binaries
	@scripts/install-deps build
	$(CARGO) build --release --locked --package img --package runner --bins
	@echo "$(RELEASE)"
	@echo "$(RUNTIME)"

demo: toolchain ## pull, build, run and history on real images from a registry on loopback (root; Debian 12)
	@scripts/demo

test: toolchain ## install what the tests need and run all of them (root)
	@scripts/install-deps test
	@scripts/test $(ARGS)

check: toolchain ## format, lints and documentation, warnings as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --workspace --no-deps --document-private-items --locked

bench: toolchain ## measure against runc, podman, docker, bubblewrap and a C floor; prints markdown tables (root)
	@scripts/install-deps bench
	$(CARGO) build --release --locked
	@python3 benches/run.py --img $(RELEASE) $(ARGS)

vm: toolchain ## boot Debian's kernels in QEMU and try the release binary on pure cgroup version 2 (root; five minutes)
	@scripts/install-deps vm
	$(CARGO) build --release --locked
	$(CARGO) build --release --locked --package runner --bins
	@scripts/vm $(ARGS)

sweep: toolchain ## interrupt every command at every system call, and write docs/sweep.md (root; an hour)
	@scripts/install-deps test
	@scripts/sweep $(ARGS)

power: toolchain ## cut the power of a virtual machine's disk at many points, and look at what is left (root; three minutes)
	@scripts/install-deps vm
	@scripts/power $(ARGS)

fuzz: toolchain ## run every fuzz target for a minute (ARGS=600 for ten)
	@scripts/fuzz $(ARGS)

crowd: toolchain ## many processes on one store for ten minutes (root; ARGS="SECONDS SEED")
	@scripts/install-deps test
	@scripts/crowd $(ARGS)

# `make install` after `make build` needs no toolchain: sudo often has none.
install: ## install the binaries, completions and man pages under PREFIX (needs `make build` before)
	@[ -x "$(or $(IMG),$(RELEASE))" ] || { echo "error: $(RELEASE) is missing" >&2; echo "hint: run 'make build' first" >&2; exit 1; }
	install -D -m 755 "$(or $(IMG),$(RELEASE))" "$(BINDIR)/img"
	[ ! -x "$(RUNTIME)" ] || install -D -m 755 "$(RUNTIME)" "$(BINDIR)/img-runtime"
	install -d "$(BASHDIR)" "$(ZSHDIR)" "$(FISHDIR)" "$(MANDIR)"
	"$(BINDIR)/img" completion bash > "$(BASHDIR)/img"
	"$(BINDIR)/img" completion zsh > "$(ZSHDIR)/_img"
	"$(BINDIR)/img" completion fish > "$(FISHDIR)/img.fish"
	"$(BINDIR)/img" man "$(MANDIR)"

uninstall: ## remove what `make install` put there
	rm -f "$(BINDIR)/img" "$(BINDIR)/img-runtime" "$(BASHDIR)/img" "$(ZSHDIR)/_img" "$(FISHDIR)/img.fish"
	rm -f "$(MANDIR)/img.1" "$(MANDIR)"/img-*.1

clean: ## remove the build folder (test images included)
	$(CARGO) clean
