# What a person types. Each target prints what it does; `make` alone lists them.
SHELL := /bin/bash
# Where rustup puts cargo, for shells that were started before it did.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Live scenarios mostly wait: four at once keep two cores busy without making them late.
TEST_THREADS ?= 4

.DEFAULT_GOAL := help
.PHONY: help install demo test test-elastic test-collector simulate soak matrix bench bench-cost bench-stats lint fmt

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## install what is missing: Debian packages (as root), and a pinned Celery in .cache/venv
	@scripts/install.sh

demo: install ## real fleets, a kill, what Slack is told, and the return; until Ctrl-C (ONCE=1: ends by itself)
	@echo "demo: building Headcount and the demo (a debug build, which takes half the time of a release; 5 to 10 min the first time on two cores)"
	@cargo build --bin headcount --example demo
	@ONCE=$(ONCE) exec cargo run --quiet --example demo

test: install ## all tests, with real brokers and real Celery workers
	cargo test --workspace --features fault-points --no-fail-fast -- --test-threads $(TEST_THREADS)

test-elastic: ## pipelines into a real Elasticsearch and a real OpenSearch, which it installs (Java and Maven by apt); ONLY=opensearch: one
	@scripts/install.sh elastic
	HEADCOUNT_ELASTIC=$(or $(ONLY),all) cargo test --features fault-points --test elastic -- --nocapture --test-threads 1

test-collector: install ## traces, metrics and logs into a real OpenTelemetry Collector, which it builds (Go; five minutes the first time)
	cd tests/collector && go run go.opentelemetry.io/collector/cmd/builder@v0.165.0 --config builder.yaml
	HEADCOUNT_COLLECTOR=$(CURDIR)/.cache/collector/otelcol cargo test --features fault-points --test live -- --nocapture --ignored otlp::a_real_collector

simulate: ## 10,000 worker-days of quiet and all faults: the figures of docs/detection.md (a release build; a quarter of an hour)
	cargo run --release --bin headcount -- simulate --days 8.4 --fault-days 1 --markdown docs/detection.md --plot docs/detection.svg

soak: install ## what takes long: ten minutes of nothing, memory and threads flat; five that Prometheus scrapes, counts exact
	HEADCOUNT_SOAK=1 cargo test --features fault-points --test live -- --nocapture quiet:: prometheus::

matrix: install ## real faults, ten times each on both brokers, into docs/detection.md; half an hour (ONLY=half_open: one of them)
	HEADCOUNT_MATRIX=$(or $(ONLY),all) cargo test --features fault-points --test matrix

bench: install ## the event lane against real servers (a release build)
	cargo bench --bench event_lane

bench-cost: install ## what metrics, Sentry, OTLP and scrapes cost of the event lane: the table of docs/performance.md (ROUNDS=3 of each)
	cargo bench --bench event_lane -- --cost $(or $(ROUNDS),3)

bench-stats: install ## pipelines against the others with a real MongoDB: the table of docs/performance.md (a release build, then five to twelve minutes; DOCUMENTS=1000000: fewer)
	cargo bench --bench stats_pipeline -- --documents $(or $(DOCUMENTS),10000000)

lint: ## clippy, warnings are errors
	cargo clippy --workspace --all-targets --all-features -- -D warnings

fmt: ## format the code
	cargo fmt --all
