# Stillpoint: what there is to do. On a fresh Debian 12 with Go, as root, `make demo` and `make test` install what they need.

GO       ?= go
PREFIX   ?= /usr/local
DESTDIR  ?=
MODULE   := github.com/stillpoint-vss/stillpoint
PROGRAMS := $(notdir $(wildcard cmd/*))

# Nothing here needs cgo; programs are static.
export CGO_ENABLED = 0

.PHONY: demo test bench soak lint build install generate fmt setup clean help

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

demo: setup build ## make, prove and break a shadow copy set of live volumes (root)
	bin/vss demo

test: ## everything that must pass, in all lanes (root; another user gets what runs without)
	tools/test

bench: setup ## how long writes are held, and what it costs
	$(GO) test -count=1 -timeout 60m -run '^$$' -bench . -benchtime 1x $$(tools/packages Benchmark)

soak: setup ## the full counts, for hours; an interrupted one goes on where it was
	tools/soak

lint: ## gofmt, vet, staticcheck, errcheck, deadcode, the rules of internal/lint, generated code
	tools/lint

build: ## static programs into bin/
	$(GO) build -trimpath -ldflags '-s -w' -o bin/ ./cmd/...

install: build ## programs, units, rules and documents below DESTDIR and PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(addprefix bin/,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin/
	packaging/install $(DESTDIR) $(PREFIX)

generate: setup ## the Go code of api/, by protoc
	$(GO) generate ./api/...

fmt: ## gofmt all
	gofmt -l -w $$(git ls-files '*.go')

setup: ## the Debian packages that tests and demo use (root)
	tools/setup

clean: ## what make made
	rm -rf bin .soak
