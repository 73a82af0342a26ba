# `make run` and `make test` are all a newcomer needs; `make help` lists the rest.
PYTHON ?= python3.11
BIN := .venv/bin
# dvc starts the stages with `python`: the environment's comes first on PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)
SHELL := /bin/bash
.DEFAULT_GOAL := help

NAME := team
UV := uv==0.13.9
REQUIREMENTS := requirements.txt $(wildcard remotes/*.txt)

# Python reads these in the environment, as they were written: neither make nor the shell expands what is in them.
GIVEN := URL NAME SET PRESET WHAT
$(foreach name,$(GIVEN),$(eval remote pull study: override export $(name) := $$(value $(name))))

.PHONY: help env run test fuzz faults audit study retry back remote push pull calibrate bench lint format lock clean-cache

help:           ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

env: $(BIN)/.installed  ## the environment with the pinned dependencies
$(BIN)/.installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

run: env        ## the whole study as params.yaml describes it, then the results table
	@python study.py check
	dvc repro
	@python study.py results

test: env       ## all tests, each skipped one listed with its reason
	python -m pytest --numprocesses 2 --dist loadfile

study: env      ## a preset as a DVC experiment: make study PRESET=paper SET="folder.path=/my/videos"
	@python study.py run

retry: env      ## look again for the videos that a passing fault kept away (source: youtube)
	dvc repro --force --single-item videos

back: env       ## after `make study`: main's parameters, data and results again
	@python study.py back

remote: env     ## where to share data: make remote URL=s3://bucket/study SET="endpointurl=https://…" NAME=team
	@python remote.py set

push: env       ## this clone's videos, frames, faces, crops and models to the remote
	@python remote.py push

pull: env       ## them from the remote; only the models: make pull WHAT=train
	@python remote.py pull

calibrate: env  ## known-answer runs on samples of other seeds: metrics/calibration.csv
	python calibrate.py

bench: env      ## the measured figures that the documents quote (about 10 minutes, 15 GB of disk)
	@for file in benchmarks/*.py; do echo "== $$file"; python $$file || exit 1; done

fuzz: env       ## hostile input in bulk, about 5 minutes: make fuzz N=20000 SEED=1
	python -m tests.fuzz --inputs $(or $(N),20000) --seed $(or $(SEED),1)

audit: env      ## known vulnerabilities of the pinned dependencies; asks PyPI's JSON API
	$(BIN)/pip install --quiet $(UV)
	uv tool run --python $(PYTHON) pip-audit==2.10.1 --require-hashes --disable-pip --strict \
	  $(addprefix --requirement ,$(REQUIREMENTS))

faults: env     ## hurt a tiny study in every way (about an hour, as root): metrics/faults.csv
	python -m tests.faults --write

lint: env       ## what .ci/run checks before the tests
	ruff check .
	ruff format --check .
	mypy

format: env     ## put the code into its form
	ruff check --fix .
	ruff format .

lock: env       ## requirements.in -> requirements.txt, remotes/*.in -> remotes/*.txt, pinned with hashes
	$(BIN)/pip install --quiet $(UV)
	uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate requirements.in -o requirements.txt
	for kind in gs azure; do \
	  uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --constraint requirements.txt \
	    --custom-compile-command "make lock" $$(sed -nE 's/^([a-z0-9-]+)==.*/--no-emit-package \1/p' requirements.txt) \
	    requirements.in remotes/$$kind.in -o remotes/$$kind.txt || exit 1; \
	done

clean-cache:    ## empty the work cache (finished videos, frames, faces, trainings)
	rm -rf .cache
