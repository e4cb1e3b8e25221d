# `make` alone lists the commands of a contributor (`##`), `make help-all` also the others (`###`).
# The README's two commands are `make try` and `make test`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
# Options of `make release` and others reach the programs as environment variables.
export KEY PUBKEY REGISTRY DOWNLOADS PLATFORMS ALLOW_DIRTY MAX_USD
# Set in many containers. Without cached byte code each of the hundreds of Python processes of a run compiles its imports
# again: collecting the unit tests took 20 s of CPU instead of 7.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
PY := $(BIN)/python
PYTEST := $(BIN)/pytest
VIDEO ?=
MINUTES ?= 20
SMALL ?=
PORT ?=
PLANS ?= 3000
MUTANTS ?= 16000
SEED ?= 0
TRAININGS ?= 60
COUNT ?= 50
EACH ?= 50
REPLAY ?=
ONLY ?=
KUBERNETES ?= 1.35 1.36 1.37
ARGS ?=
VERSION ?=
KEY ?=
PUBKEY ?=
REGISTRY ?=
DOWNLOADS ?=
PLATFORMS ?=
ALLOW_DIRTY ?=
MAX_USD ?=

.PHONY: help
help: ### the commands of a contributor
	@awk 'BEGIN {FS = ":.* ## "} /^[a-z0-9-]+:.* ## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf "  make %-18s %s\n" help-all "the other targets: campaigns, benchmarks, releases"

.PHONY: help-all
help-all: help ### all targets
	@echo
	@awk 'BEGIN {FS = ":.* ### "} /^[a-z0-9-]+:.* ### / {printf "  make %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.ready: requirements/dev.txt requirements/uv.txt pyproject.toml tools/bootstrap.sh
	@sh tools/bootstrap.sh

.PHONY: try
try: .venv/.ready ## `contentgen try` from the checkout: three samples on this computer, without a cluster; ARGS="my.yaml --serve"
	@$(PY) -m contentgen_demo.wheel --data
	@$(PY) -m contentgen_try $(ARGS)

.PHONY: test
test: .venv/.ready ## every test that needs neither root nor a cluster; lists what this machine lacks
	@$(PY) tools/run_suites.py test

.PHONY: check
check: .venv/.ready ## before each commit: lint, types, unit tests but for the campaigns, 3 minutes; no cluster
	@$(MAKE) -j2 --output-sync=target lint test-unit UNIT="$(CAMPAIGNS:%=--ignore=tests/unit/%)"

# Suites of many plans, crash points, generated inputs, videos, sounds or connections: half of the unit tests' time. `make test` has them.
CAMPAIGNS = bench/test_unseen.py contract/test_advice.py gateway/auth/test_hostile.py gateway/auth/test_tenants.py \
	operator/installations/test_fencing.py operator/payment/test_lost_replies.py \
	operator/payment/test_purchases.py operator/payment/test_unknown_requests.py \
	operator/budgets/test_budgets_at_once.py operator/budgets/test_budgets_of_lost_requests.py \
	operator/runs/test_crashes.py operator/runs/test_outcome_swap.py operator/runs/test_run_documents.py \
	operator/worker_api/test_worker_api_http.py operator/worker_api/test_worker_api_tls.py simulation \
	tooling/test_images.py try/api_server/test_watches.py worker/media/test_adaptive.py worker/media/test_engine.py \
	worker/media/test_isolation.py worker/media/test_pyscenedetect.py

.PHONY: format
format: .venv/.ready ## sort imports, format, and fix what ruff can fix
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: test-cluster
test-cluster: .venv/.ready ## every test on a real cluster, which it brings up: root on Debian 12, or Docker
	@$(PY) tools/run_suites.py cluster

.PHONY: demo
demo: cluster ## a real cluster, three samples, a table of the results; VIDEO=path-or-url uses your own
	@$(PY) -m contentgen_demo $(if $(VIDEO),--video "$(VIDEO)")

.PHONY: wheel
wheel: .venv/.ready ### the Python package with the files of `contentgen try`: dist/
	@$(PY) -m contentgen_demo.wheel

.PHONY: try-check
try-check: .venv/.ready ### `contentgen try` in a plain Debian 12 as a user without root: seconds and size; the goal is 60 s to three results
	@$(PY) -m contentgen_demo.try_check

.PHONY: ui
ui: .venv/.ready ## the demo's results in a browser: the gateway at http://localhost:5000 (PORT=), with a token to sign in
	@$(PY) -m contentgen_demo.ui $(if $(PORT),--port $(PORT))

.PHONY: acceptance
acceptance: .venv/.ready ### the policies at full size: samples, tables, rehearsal, mutants and the cluster; hours (make test takes a sample)
	@$(PY) tools/run_suites.py acceptance

.PHONY: cluster
cluster: .venv/.ready ## a real Kubernetes cluster with our images (CONTEXT=name uses one of yours)
	@$(PY) -m contentgen_cluster up

.PHONY: cluster-down
cluster-down: .venv/.ready ### stop the cluster and remove its data
	@$(PY) -m contentgen_cluster down

.PHONY: lint
lint: .venv/.ready ### ruff, mypy --strict and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy tools/*.py
	@PYTHONPATH=tests/documents:tests/simulation:tests/hostile:tests/media $(BIN)/lint-imports --no-logo

.PHONY: test-unit
test-unit: .venv/.ready ### unit tests alone
	@$(PYTEST) -n auto --dist loadfile $(UNIT) tests/unit

.PHONY: test-hostile
test-hostile: .venv/.ready ### every hostile and broken file, both ways: about 10 minutes, build/test/hostile.json (make test takes a sample)
	@CONTENTGEN_HOSTILE=all $(PYTEST) tests/hostile

.PHONY: test-media
test-media: .venv/.ready ### the whole corpus of footage, sound and answers: four minutes (make test takes a sample)
	@CONTENTGEN_MEDIA=all $(PYTEST) -n auto tests/media

.PHONY: fuzz
fuzz: .venv/.ready ### paths, keys, filters, URLs, owner references, cursors, responses of decoders: each for MINUTES=10, with new inputs
	@PYTHONPATH=tests/simulation $(PY) -m contentgen_simulation.fuzz --minutes $(if $(filter file,$(origin MINUTES)),10,$(MINUTES))
	@PYTHONPATH=tests/hostile $(PY) -m contentgen_hostile.child_protocol --minutes $(if $(filter file,$(origin MINUTES)),10,$(MINUTES))

.PHONY: rehearse
rehearse: .venv/.ready ### purchases, policies: PLANS=3000 randomized plans from SEED=0 in the simulation, and MUTANTS=16000 odd answers of providers, minutes; REPLAY=seed prints one plan
	@PYTHONPATH=tests/simulation $(PY) -m contentgen_simulation.rehearsal $(if $(REPLAY),--replay $(REPLAY) --shrink,--plans $(PLANS) --seed $(SEED))
	@$(if $(REPLAY),,PYTHONPATH=tests/simulation $(PY) -m contentgen_simulation.mutated_answers --mutants $(MUTANTS) --seed $(SEED))
	@$(if $(REPLAY),,PYTHONPATH=tests/hostile $(PY) -m contentgen_hostile.answers --mutants $(MUTANTS) --seed $(SEED))

.PHONY: mutants
mutants: .venv/.ready ### mutation tests of purchases: a test must fail without each defence; ONLY=text for some, about 5 minutes
	@$(PY) tools/mutants.py $(if $(ONLY),--only "$(ONLY)")

.PHONY: test-kubernetes
test-kubernetes: .venv/.ready ### CRDs, policies and chart on API servers of KUBERNETES="1.35 1.36 1.37"; builds them first, 10 minutes each
	@$(PY) -m contentgen_cluster tools helm helm3
	@for minor in $(KUBERNETES); do \
	  $(PY) -m contentgen_cluster api-server $$minor -m pytest -q tests/kubernetes tests/cluster/chart/test_crds_api_server.py; \
	done

.PHONY: test-api
test-api: .venv/.ready ### the gateway: 100,000 hostile requests, 10,000 of schemathesis, every tenant: about 15 minutes
	@CONTENTGEN_API=all $(PYTEST) tests/unit/gateway/auth/test_tenants.py tests/unit/gateway/auth/test_hostile.py tests/unit/gateway/api/test_schema.py

.PHONY: test-pages
test-pages: .venv/.ready ### browser tests of the gateway's pages with Chromium, axe-core on every state of a job; screenshots: build/pages
	@CONTENTGEN_PAGES=all $(PYTEST) tests/pages

.PHONY: pages
pages: .venv/.ready ### the gateway's pages with generated jobs, for development: http://127.0.0.1:8010, the token is ann
	@PYTHONPATH=tests/simulation $(PY) -m contentgen_simulation.showcase

.PHONY: vendor
vendor: .venv/.ready ### files of the pages from npm packages, verified by their hashes
	@$(PY) tools/vendor.py

.PHONY: test-integration
test-integration: .venv/.ready ### tests with real store servers (MONGODB_URI, S3_ENDPOINT use yours)
	@$(PY) -m contentgen_cluster stores
	@$(PYTEST) tests/integration

.PHONY: test-explain
test-explain: .venv/.ready ### query plans on your MongoDB (MONGODB_URI=): every query of the gateway uses an index
	@$(PYTEST) tests/explain

.PHONY: bench-e2e
bench-e2e: cluster ### figures of the operator: build/bench/e2e.json and docs/benchmarks.md (SMALL=1: two minutes)
	@$(PY) -m contentgen_bench e2e $(if $(SMALL),--small)

.PHONY: docs-pictures
docs-pictures: .venv/.ready ### the pictures of docs/media.md, from a generated video
	@$(PY) -m contentgen_bench.media.pictures

.PHONY: site
site: .venv/.ready ### the documentation site: build/site/VERSION, with search; broken links fail
	@$(PY) tools/docs_site.py $(if $(VERSION),--release $(VERSION))

.PHONY: soak
soak: cluster ### jobs of all kinds while the operator is killed every 30 s: build/bench/soak.json (MINUTES=20)
	@$(PY) -m contentgen_bench soak --minutes $(MINUTES)

.PHONY: takeovers
takeovers: cluster ### leader takeovers: frozen, killed, cut off, rolled out, without an API server; COUNT=50 times, choices by SEED=0
	@CONTENTGEN_TAKEOVERS=$(COUNT) CONTENTGEN_SEED=$(SEED) $(PYTEST) -q tests/cluster/installations/test_takeovers.py

.PHONY: first-day
first-day: cluster ### mistakes and limits of a first day, a company's network, and TRAININGS=60 in a pool for two
	@CONTENTGEN_TRAININGS=$(TRAININGS) $(PYTEST) -q tests/cluster/operator/test_first_day.py

.PHONY: installations
installations: cluster ### two operator classes side by side, EACH=50 resources; moves between them, and an uninstall
	@CONTENTGEN_EACH=$(EACH) $(PYTEST) -q tests/cluster/installations/test_classes.py

.PHONY: bench-media
bench-media: .venv/.ready ### figures of the media engine: build/bench/media.json and docs/benchmarks.md (SMALL=1: a minute)
	@$(PY) -m contentgen_cluster stores
	@$(PY) -m contentgen_bench media $(if $(SMALL),--small)

.PHONY: bench-scaling
bench-scaling: .venv/.ready ### the media engine on four hours of 1080p and with 1 to 8 workers: build/bench/scaling.json and docs/benchmarks.md (SMALL=1: half a minute)
	@$(PY) -m contentgen_bench scaling $(if $(SMALL),--small)

.PHONY: bench-gateway
bench-gateway: .venv/.ready ### figures of the HTTP API: build/bench/gateway.json and docs/benchmarks.md (SMALL=1: half a minute)
	@$(PY) -m contentgen_cluster stores
	@$(PY) -m contentgen_bench gateway $(if $(SMALL),--small)

.PHONY: golden
golden: .venv/.ready ### update the expected results of the golden video (tests/golden)
	@$(PY) -m contentgen_bench golden

.PHONY: test-real
test-real: .venv/.ready ### the real fal, AssemblyAI, S3 and cluster against the facts; costs money: prints prices and asks first; MAX_USD=1, ARGS="--only pictures"
	@PYTHONPATH=tests/simulation $(PY) -m contentgen_real $(ARGS)

.PHONY: generate
generate: .venv/.ready ## CRDs and reference pages from the models
	@$(PY) tools/generate.py

.PHONY: lint-workflows
lint-workflows: .venv/.ready ### the GitHub workflows: their schema, and zizmor
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	@$(BIN)/zizmor --offline --quiet --no-progress .github

.PHONY: manifests
manifests: .venv/.ready ### deploy/kustomize and deploy/olm from the chart, with helm; the suite `chart` fails where it is out of date
	@$(PY) -m contentgen_cluster tools helm
	@$(PY) tools/manifests.py

.PHONY: olm-validate
olm-validate: .venv/.ready ### the OLM bundle by operator-framework's validators; builds them first, a minute or two
	@$(PY) -m contentgen_cluster tools olm-validate
	@.cluster/bin/olm-validate deploy/olm/bundle

.PHONY: verify
verify: lint lint-workflows ### lint, and fail if a generated file is out of date
	@$(PY) tools/generate.py --check
	@$(PY) tools/lock.py --check

.PHONY: lock
lock: .venv/.ready ## resolve and lock the requirements
	@$(PY) tools/lock.py

.PHONY: lock-base
lock-base: .venv/.ready ### lock the Debian packages of the images' base layer at their newest versions; needs Debian's apt
	@$(PY) tools/lock_base.py

build/audit/.ready: requirements/audit.txt .venv/.ready
	@$(BIN)/uv venv --quiet --clear build/audit
	@$(BIN)/uv pip install --quiet --python build/audit/bin/python --require-hashes --requirement requirements/audit.txt
	@touch build/audit/.ready

.PHONY: audit
audit: build/audit/.ready ### known vulnerabilities of every locked package; fails where the service does not answer
	@$(PY) tools/audit.py

.PHONY: facts-due
facts-due: .venv/.ready ### facts about providers (facts/) that were compared with their sources more than 90 days ago; never fails
	@$(PY) tools/facts_due.py

.PHONY: audit-base
audit-base: .venv/.ready ### newer versions, such as security updates, of the images' Debian packages; needs Debian's apt
	@$(PY) tools/lock_base.py --check

.PHONY: release
release: .venv/.ready ### all artifacts of VERSION= in dist/release, signed with KEY=file (docs/releasing.md)
	@$(PY) -m contentgen_release build --version "$(VERSION)"

.PHONY: release-verify
release-verify: .venv/.ready ### checksums and signatures of dist/release: VERSION=, PUBKEY=file
	@$(PY) -m contentgen_release verify --version "$(VERSION)"

.PHONY: release-check
release-check: .venv/.ready ### install dist/release/VERSION= from its own files on a cluster, use it and uninstall it
	@$(PY) -m contentgen_cluster up --no-images
	@$(PY) -m contentgen_release check --version "$(VERSION)"

.PHONY: publish
publish: .venv/.ready ### push images, chart and signatures of dist/release/VERSION= to REGISTRY=
	@$(PY) -m contentgen_release publish --version "$(VERSION)"

.PHONY: clean
clean: ### remove build results; the content cache outside stays, and the journal of what test-real has bought
	@[ ! -d build ] || find build -mindepth 1 -maxdepth 1 ! -name real -exec rm -rf {} +
	rm -rf dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .venv
