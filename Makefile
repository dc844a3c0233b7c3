# `make help` lists the targets. Needed: Linux on x86-64, Python 3.11 with venv, make. Nothing else.

.DEFAULT_GOAL := help
.ONESHELL:
SHELL := /bin/sh
.SHELLFLAGS := -euc
MAKEFLAGS += --no-print-directory
# A leftover of another environment would shadow the one made here.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PIP_NO_INPUT := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Which Python to make .venv from: python3.11, else python3 where that is 3.11. `make setup PYTHON=/path/to/python3.11`
PYTHON ?=
LOCK := locks/requirements-py311.txt
DATASET := movielens-100k
DS := 1998-04-23
ARGS ?=
# Of the measurements of speed: a folder for their data and outputs.
WORK ?=
# Of bench-quality: a folder with MovieLens 1M (without one its rows are not run, and the target fails), at most 20
# minutes instead of 3 hours, and the seed of the first split.
ML1M ?=
QUICK ?=
SEED ?= 0

# A finished installation is known by the lock, the place (an environment cannot be moved) and, apart from these, by
# what the editable install was made from. The stamps are written last, so an interrupted install is never taken for one.
place_and = $(shell { printf '%s\n' '$(subst ','\'',$(CURDIR))'; cat $(1); } 2>/dev/null | sha256sum | cut -c1-16)
ENVIRONMENT := .venv/.environment-$(call place_and,$(LOCK))
PACKAGE := .venv/.package-$(call place_and,$(LOCK) pyproject.toml setup.py)

.PHONY: help setup demo test lint types unit format docs test-wheel dist lock lock-quality lock-peers bench \
  bench-profiles bench-embed bench-train bench-overhead bench-peers bench-growth bench-plan bench-billion bench-night \
  bench-quality check-metrics clean clean-all

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS="$$(printf '\t')" read -r name text; do
	  printf '  make %-13s %s\n' "$$name" "$$text"
	done

setup: $(PACKAGE)  ## Make .venv with .venv/bin/recbatch from the locked packages (a few minutes; once)

demo: setup  ## MovieLens 100K from the download to the published tables, with a preview
	@.venv/bin/recbatch data $(DATASET) --to data/$(DATASET)
	.venv/bin/recbatch nightly configs/$(DATASET).yaml --output output/$(DATASET) --ds $(DS)
	.venv/bin/recbatch show output/$(DATASET) --ds $(DS)

test: lint types unit  ## All that must pass: lint, types, tests

lint: setup  ## Style, likely mistakes and formatting (ruff); `make format` mends
	@.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .

types: setup  ## Types (mypy)
	@.venv/bin/python -m mypy

unit: setup  ## The tests alone, e.g. make unit ARGS="tests/test_datasets.py -k zip"
	@.venv/bin/python -m pytest $(ARGS)

docs: setup  ## Rewrite the reference in docs/configuration.md from the config models
	@.venv/bin/python -m recbatch.config.reference docs/configuration.md

format: setup  ## Format the code and mend what ruff can mend
	@.venv/bin/python -m ruff check --fix .
	.venv/bin/python -m ruff format .

dist: setup  ## Source distribution and wheel in dist/
	@.venv/bin/python -m build --no-isolation --outdir dist .

# From the sdist, so that nothing left in build/ gets in; away from the checkout, so that nothing of it is importable.
test-wheel: setup  ## Install the wheel in an environment made from nothing and run a small night there
	@work=$$(mktemp -d)
	trap 'rm -rf "$$work"' EXIT
	trap 'exit 1' INT TERM
	echo "Building the wheel ..."
	.venv/bin/python -m build --no-isolation --outdir "$$work/dist" . >"$$work/build.log" 2>&1 || { cat "$$work/build.log"; exit 1; }
	.venv/bin/python -m venv "$$work/venv"
	python="$$work/venv/bin/python"
	$(install_lock)
	"$$python" -m pip install --quiet --no-deps "$$work"/dist/*.whl
	mkdir "$$work/away"
	cd "$$work/away"
	RECBATCH_WHEEL="$$(ls "$$work"/dist/*.whl)" "$$python" -m pytest --import-mode=importlib -p no:cacheprovider \
	  -m wheel "$(CURDIR)/tests/test_wheel.py"

lock:  ## Remake the lock after a change in pyproject.toml (LOCK_ARGS=--upgrade takes the newest versions)
	@$(find_python)
	work=$$(mktemp -d)
	trap 'rm -rf "$$work"' EXIT
	trap 'exit 1' INT TERM
	"$$python" -m venv "$$work"
	"$$work/bin/python" -m pip install --quiet uv
	"$$work/bin/uv" pip compile --quiet --generate-hashes --extra dev \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-emit-index-url \
	  --custom-compile-command "make lock" $(LOCK_ARGS) pyproject.toml --output-file $(LOCK)
	grep -c '^[a-z0-9]' $(LOCK) | sed 's|$$| packages locked in $(LOCK)|'

# The peers of `make bench-quality` and of `make bench-peers` have an environment and a lock each.
define lock_folders
$(find_python)
work=$$(mktemp -d)
trap 'rm -rf "$$work"' EXIT
trap 'exit 1' INT TERM
"$$python" -m venv "$$work"
"$$work/bin/python" -m pip install --quiet uv
for folder in $(1); do
  "$$work/bin/uv" pip compile --quiet --generate-hashes \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-emit-index-url \
    --custom-compile-command "make $@" $(LOCK_ARGS) "$$folder/requirements.in" \
    --output-file "$$folder/requirements.txt"
  grep -c '^[a-z0-9]' "$$folder/requirements.txt" | sed "s|$$| packages locked in $$folder/requirements.txt|"
done
endef

lock-quality:  ## Remake the locks of the other libraries in benchmarks/quality (LOCK_ARGS=--upgrade: newest versions)
	@$(call lock_folders,benchmarks/quality/implicit benchmarks/quality/rectools benchmarks/quality/metrics)

lock-peers:  ## The same of those in benchmarks/speed/peers
	@$(call lock_folders,benchmarks/speed/peers/implicit benchmarks/speed/peers/faiss benchmarks/speed/peers/spark)

define needs_work
test -n "$(WORK)" || { echo "name a folder for its data and outputs: make $@ WORK=DIR" >&2; exit 2; }
endef
measure = .venv/bin/python -m benchmarks.speed.$(1) --work '$(WORK)' $(ARGS)

SPEED := profiles embed train overhead peers growth plan
bench: $(SPEED:%=bench-%)  ## Every measurement of speed, one after the other: WORK=DIR for some GB of data

bench-profiles: setup  ## Interactions per second of the grouping, beside DuckDB: WORK=DIR for some GB of events
	@$(needs_work)
	$(call measure,profiles)

bench-overhead: setup  ## What a query of the night costs beside a bare loop: WORK=DIR for some GB of vectors
	@$(needs_work)
	$(call measure,overhead)

bench-peers: setup  ## Queries per second of the night beside Spark ALS, implicit, faiss and TFRS: WORK=DIR for some GB, Java
	@$(needs_work)
	$(call measure,peers)

bench-plan: setup  ## How well `recbatch plan` foretells nights of three sizes: WORK=DIR for some GB of vectors
	@$(needs_work)
	$(call measure,planning)

bench-embed: setup  ## Users per second of the embedding, beside TensorFlow alone: WORK=DIR for some GB of events
	@$(needs_work)
	$(call measure,embed)

bench-train: setup  ## Examples per second of the training, beside the tutorial's fit: WORK=DIR, or WORK=DIR ML1M=DIR
	@$(needs_work)
	$(call measure,train) $(if $(ML1M),--ml1m '$(ML1M)')

bench-growth: setup  ## Time and memory of nights that grow, and of shards: WORK=DIR for some GB of vectors
	@$(needs_work)
	$(call measure,growth)

bench-billion: setup  ## 10 million users x 1 million items, a billion rows; goes on if stopped: WORK=DIR for 30 GB
	@$(needs_work)
	$(call measure,billion)

bench-night: setup  ## A whole night of MovieLens 1M, from the training to four tables: WORK=DIR ML1M=DIR
	@test -n "$(WORK)" && test -n "$(ML1M)" || { echo "name both folders: make bench-night WORK=DIR ML1M=DIR" >&2; exit 2; }
	$(call measure,nights) --ml1m '$(ML1M)'

bench-quality: setup  ## Measure the models beside published figures and other libraries, write docs/quality.md: ML1M=DIR, QUICK=1, SEED=0
	@.venv/bin/python -m benchmarks.quality --seed '$(SEED)' --ml1m '$(ML1M)' $(if $(QUICK),--quick) $(ARGS)

check-metrics: setup  ## Compare our metrics with those of ranx and RecTools, in an environment of their own
	@.venv/bin/python -m benchmarks.quality.check_metrics

clean:  ## Remove caches and build products
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

clean-all: clean  ## The same, and the environments, the demo's data and output, and what bench-quality and bench-peers have made
	@rm -rf benchmarks/quality/.envs benchmarks/quality/.cache benchmarks/quality/results/cells benchmarks/speed/peers/.envs
	rm -rf .venv data/$(DATASET) output/$(DATASET)

# --- how .venv is made --------------------------------------------------------------------------------------------

# Sets $python or says in one sentence what is missing. The first line holds on systems with another make, too.
define find_python
case "$$(uname -s)-$$(uname -m)" in Linux-x86_64) ;; *) echo "recbatch needs Linux on x86-64, because the locked wheels of TensorFlow and ScaNN are built for it; this is $$(uname -s) on $$(uname -m): use such a machine, container or virtual machine." >&2; exit 1;; esac
for flag in avx avx2 fma; do
  grep -qw "$$flag" /proc/cpuinfo || { echo "This processor has no $$flag instructions, which ScaNN, TensorFlow and Polars need: use a machine with AVX2 and FMA (Intel since 2013, AMD since 2015), or let the virtual machine pass the host's processor through." >&2; exit 1; }
done
python=
for name in $(if $(PYTHON),"$(PYTHON)",python3.11 python3); do
  if "$$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then python=$$name; break; fi
done
if [ -z "$$python" ]; then
  echo "recbatch needs Python 3.11 and found $$({ "$$name" --version || echo "no $$name"; } 2>/dev/null | head -n 1): install it (Debian 12: apt-get install python3.11 python3.11-venv; elsewhere the distribution's package or pyenv) or say where it is: make setup PYTHON=/path/to/python3.11" >&2
  exit 1
fi
if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then
  echo "Python 3.11 is here without its venv module: install it (Debian, Ubuntu: apt-get install python3.11-venv) and run make again." >&2
  exit 1
fi
if ! "$$python" -c 'import platform, sys; n, v = platform.libc_ver(); sys.exit(n != "glibc" or tuple(map(int, v.split(".")[:2])) < (2, 28))'; then
  echo "The locked packages need glibc 2.28 or newer, which this system does not have: use Debian 10, Ubuntu 18.10, RHEL 8 or newer (not Alpine)." >&2
  exit 1
fi
endef

# Installs the lock with $python. The build backend first: one package of the lock has no wheel, and is built with it.
# Byte-code for all, on all cores, whatever PYTHONDONTWRITEBYTECODE says: without it every start takes seconds longer.
define install_lock
echo "Installing $$(grep -c '^[a-z0-9]' $(LOCK)) packages (3 GB; a few minutes) ..."
set -- -m pip install --quiet --require-hashes --no-deps --no-compile
sed -n '/^\(setuptools\|wheel\)==/,/[^\]$$/p' $(LOCK) | "$$python" "$$@" -r /dev/stdin
"$$python" "$$@" --no-build-isolation -r $(LOCK)
echo "Compiling them to byte-code ..."
"$$python" -m compileall -q -j 0 "$$("$$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
endef

$(ENVIRONMENT): $(LOCK)
	@$(find_python)
	"$$python" -m venv --clear .venv
	python=.venv/bin/python
	$(install_lock)
	touch $@

$(PACKAGE): $(ENVIRONMENT)
	@.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	rm -f .venv/.package-*
	touch $@
	echo "Ready: .venv/bin/recbatch"
