# Targets of Stillpoint. On a fresh Debian 12 with Go, as root, `make demo` and `make test` install the packages they require.

GO       ?= go
PREFIX   ?= /usr/local
DESTDIR  ?=
MODULE   := github.com/stillpoint-vss/stillpoint
PROGRAMS := $(notdir $(wildcard cmd/*))

# Programs are static, without cgo.
export CGO_ENABLED = 0

.PHONY: demo test bench soak lint build install generate fmt setup clean help

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

demo: setup build ## create, verify and break a shadow copy set of live volumes (root)
	bin/vss demo

test: ## run all tests and checks in all lanes (without root: those that can run)
	tools/test

bench: setup ## measure how long writes are held, and other costs
	$(GO) test -count=1 -timeout 60m -run '^$$' -bench . -benchtime 1x $$(tools/packages Benchmark)

soak: setup ## run all tests with the full counts for hours; can be interrupted and resumed
	tools/soak

lint: ## check gofmt, vet, staticcheck, errcheck, deadcode, the rules of internal/lint, generated code
	tools/lint

build: ## build static programs in bin/
	$(GO) build -trimpath -ldflags '-s -w' -o bin/ ./cmd/...

install: build ## install programs, units, rules and documentation below DESTDIR and PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(addprefix bin/,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin/
	packaging/install $(DESTDIR) $(PREFIX)

generate: setup ## generate the Go code of api/ with protoc
	$(GO) generate ./api/...

fmt: ## format all Go files
	gofmt -l -w $$(git ls-files '*.go')

setup: ## install the Debian packages for tests and demo (root)
	tools/setup

clean: ## remove build output
	rm -rf bin .soak
