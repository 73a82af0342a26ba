# `make run` and `make test` are all a newcomer needs; `make help` lists the rest.
BIN := .venv/bin
# dvc starts the stages with `python`: the environment's comes first on PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)
SHELL := /bin/bash
.DEFAULT_GOAL := help

UV := uv==0.13.9
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate
REQUIREMENTS := requirements.txt $(wildcard remotes/*.txt)

# The interpreter that makes the environment: the given one, or else the newest supported one that works. pyenv has
# commands for versions that are not installed, and Debian has venv in a package of its own: so each one is tried.
SUPPORTED := 3.13 3.12 3.11
version = $(shell "$(1)" -c 'import ensurepip, sys, venv; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
NEEDED := Python 3.11, 3.12 or 3.13 with its modules venv and ensurepip
ifdef PYTHON
  given := $(call version,$(PYTHON))
  made := $(if $(wildcard $(BIN)/python),$(call version,$(BIN)/python))
  $(if $(filter $(SUPPORTED),$(given)),,$(error PYTHON=$(PYTHON) is not a working $(NEEDED)))
  $(if $(filter-out $(given),$(made)),$(info .venv has Python $(made) and is kept; remove it to use Python $(given).))
else
  newest = $(firstword $(foreach v,$(SUPPORTED),$(if $(filter $v,$(call version,python$v)),python$v)))
  absent = $(error There is no working $(NEEDED) on PATH; name one: make run PYTHON=/path/to/python3.12)
  PYTHON = $(eval PYTHON := $$(newest))$(or $(PYTHON),$(absent))
endif

# Make ignores a misspelt variable without a message.
KNOWN := FILE MODEL N NAME PRESET PYTHON QUICK SEED SET URL WHAT
unknown := $(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $v)),$(filter-out $(KNOWN) UV -*,$v)))
$(if $(strip $(unknown)),$(error unknown variable $(strip $(unknown)); the variables are $(KNOWN)))

# Python reads these from the environment exactly as given: neither make nor the shell expands them.
GIVEN := URL NAME SET PRESET QUICK WHAT FILE MODEL
NAME :=# not that of the environment, where WSL has a NAME
$(foreach name,$(GIVEN),$(eval remote pull study profile predict app export: override export $(name) := $$(value $(name))))

.PHONY: help env python run test test-fast fuzz faults audit study profile predict app export retry remote push pull \
  reasons calibrate bench lint docs plots-page wheels format lock clean-cache
# A `python -m venv` that fails leaves an environment without pip, which the next run replaces.
.DELETE_ON_ERROR:

help:           ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

env: $(BIN)/.installed  ## install the pinned dependencies and the program facestudy into .venv
$(BIN)/.installed: requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@# a linked environment has the program of the clone that it belongs to
	[ -L .venv ] || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
$(BIN)/python:
	@echo "Python $(call version,$(PYTHON)) ($(PYTHON)) makes the environment."
	"$(PYTHON)" -m venv --clear .venv

python:         ## show which Python is used for the environment: make python PYTHON=/path/to/python3.12
	@echo "Python $(call version,$(PYTHON)) ($(PYTHON))"

run: env        ## run the whole study as params.yaml describes it, then print the results
	@python -m commands.study check
	dvc repro
	@python -m commands.study results

test: env       ## run all tests and list each skipped one with its reason
	python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-fast: env  ## run the tests that start no process, server or TensorFlow
	python -m pytest --fast --quiet --numprocesses 2

study: env      ## run a preset in studies/NAME: make study PRESET=videos SET="folder.path=/my/videos" NAME=mine QUICK=1
	@python -m commands.study run

profile: env    ## measure what each stage of a run costs, in a private copy: make profile PRESET=videos SET="folder.path=/my/videos"
	@python -m commands.profile

predict: env    ## print how fake a clip looks to the published detectors: make predict FILE=clip.mp4 (or a folder or link)
	@python -m commands predict $${FILE:+-- "$$FILE"}

app: env        ## start a local page that shows the faces, crops, scores and warnings of a clip: make app SET="--port 8000"
	@FACESTUDY_APP="$$SET" python -m commands app

export: env     ## write a trained model as an ONNX file: make export MODEL=models/full/mesonet/1 (or Meso4_DF)
	@python -m commands export $${MODEL:+-- "$$MODEL"}

retry: env      ## try again to download videos that failed for a temporary reason (source: youtube)
	dvc repro --force --single-item videos

remote: env     ## set up the remote for sharing data: make remote URL=s3://bucket/study SET="endpointurl=https://…" NAME=team
	@python -m commands.remote set

push: env       ## upload this clone's videos, frames, faces, crops, models and page to the remote
	@python -m commands.remote push

pull: env       ## download them from the remote; only the models: make pull WHAT=train
	@python -m commands.remote pull

reasons: env    ## test the earlier study's three reasons on the sample: metrics/reasons/
	python -m commands.study run reasons
	mkdir -p metrics/reasons
	cd studies/reasons/metrics && cp contrasts.csv hypotheses.csv attribution.csv robustness.csv $(CURDIR)/metrics/reasons/

calibrate: env  ## run the study on samples with known answers: metrics/calibration.csv, metrics/planted.csv
	python -m commands.calibrate

bench: env      ## measure the ratios in benchmarks/results.md (about 40 minutes); for those on a GPU, see docs/gpu.md
	python -m benchmarks

fuzz: env       ## test with large amounts of hostile input, about 5 minutes: make fuzz N=20000 SEED=1
	python -m tests.fuzz --inputs $(or $(N),20000) --seed $(or $(SEED),1)

audit: env      ## check the pinned dependencies for known vulnerabilities; needs PyPI's JSON API
	$(BIN)/pip install --quiet $(UV)
	uv tool run --python $(BIN)/python pip-audit==2.10.1 --require-hashes --disable-pip --strict \
	  $(addprefix --requirement ,$(REQUIREMENTS))

faults: env     ## kill and damage a tiny study in many ways (about an hour, as root): metrics/faults.csv
	python -m tests.faults --write

lint: env       ## check the code with ruff and mypy
	ruff check .
	ruff format --check .
	mypy

docs: env       ## build the documents and the API reference as a site in site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

plots-page: env ## rebuild the page of `dvc plots` after an update of vl-convert-python: .dvc/plots/page.html
	python -m commands.plots_page

wheels: env     ## check that each pinned package has a wheel for each supported Python and platform
	$(BIN)/pip install --quiet $(UV)
	python -m tests.wheels

format: env     ## format the code
	ruff check --fix .
	ruff format .

lock: env       ## pin the dependencies with hashes: requirements.in -> requirements.txt, remotes/*.in -> remotes/*.txt
	$(BIN)/pip install --quiet $(UV)
	$(COMPILE) requirements.in -o requirements.txt
	for kind in gs azure; do \
	  $(COMPILE) --constraint requirements.txt \
	    --custom-compile-command "make lock" $$(sed -nE 's/^([a-z0-9-]+)==.*/--no-emit-package \1/p' requirements.txt) \
	    requirements.in remotes/$$kind.in -o remotes/$$kind.txt || exit 1; \
	done

clean-cache:    ## empty the work cache (finished videos, frames, faces, trainings)
	rm -rf .cache
