# SPDX-License-Identifier: GPL-3.0-or-later
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PEERS = .venv-peers
FLOORS = .venv-floors
FILE ?=
OUTPUT ?= demo_output
AGAINST ?=
PLACES ?=

.DEFAULT_GOAL := help
.PHONY: help demo test doctest test-examples test-closure bench bench-accuracy bench-speed bench-scale bench-reuse bench-search bench-physics bench-gui test-browser fuzz fuzz-files floors fingerprints overview bench-peers docs style lint clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[tests,docs]"
	touch $@

demo: $(VENV)/.installed  ## remove the ZLP of the sample image, or of FILE=path/to.dm3
	$(BIN)/python -m hyperspy_zlpml $(if $(FILE),"$(FILE)") --output "$(OUTPUT)"

# Whole files to a process: what the tests of a file share, a cluster among it, is made once.
test: $(VENV)/.installed  ## run the test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

doctest: $(VENV)/.installed  ## run the examples of the docstrings
	$(BIN)/python -m pytest -n 2 tests/test_docstrings.py

test-examples: $(VENV)/.installed  ## run the examples as scripts, as a reader does (the gallery runs them, too)
	$(BIN)/python -m pytest -n 2 -m examples tests/test_examples.py

test-closure: $(VENV)/.installed  ## run the statistical tests on many simulated images (hours)
	$(BIN)/python -m pytest -n 2 -m closure tests

test-browser: $(VENV)/.installed  ## try the window in a browser (needs chromium; a minute and a half)
	@command -v chromium > /dev/null || { echo "chromium is not found (Debian: apt-get install chromium)"; exit 1; }
	$(BIN)/python -m pip install --quiet jupyterlab ipympl playwright
	ZLPML_BROWSER=$$(command -v chromium) $(BIN)/python -m pytest -n 0 tests/test_gui/test_browser.py

bench: $(VENV)/.installed  ## print the figures of accuracy and time
	$(BIN)/python benchmarks/removal.py

bench-accuracy: $(VENV)/.installed  ## score accuracy and error bars beside other methods (half an hour)
	$(BIN)/python benchmarks/accuracy.py

bench-speed: $(VENV)/.installed  ## time training and application, EELSFitter beside (a quarter of an hour)
	mkdir -p benchmarks/output
	$(BIN)/python benchmarks/speed.py --output benchmarks/output
	$(BIN)/python benchmarks/kernels.py

bench-scale: $(VENV)/.installed  ## time and memory of large images and clusters (30 GB of disk)
	mkdir -p benchmarks/output
	$(BIN)/python benchmarks/scale.py --output benchmarks/output

bench-reuse: $(VENV)/.installed  ## score ensembles on other images and settings, files, the component (a quarter of an hour)
	$(BIN)/python benchmarks/reuse.py
	$(BIN)/python benchmarks/fuzz_files.py
	$(BIN)/python benchmarks/component.py

bench-search: $(VENV)/.installed  ## search for settings on five kinds of images and measured spectra (half an hour)
	$(BIN)/python benchmarks/search.py

bench-physics: $(VENV)/.installed  ## score gaps, thickness, dielectric functions, peaks, temperatures (an hour)
	$(BIN)/python benchmarks/physics_thickness.py
	$(BIN)/python benchmarks/physics_dielectric.py
	$(BIN)/python benchmarks/physics_retardation.py
	$(BIN)/python benchmarks/physics_band_gap.py
	$(BIN)/python benchmarks/physics_peaks.py
	$(BIN)/python benchmarks/physics_temperature.py
	$(BIN)/python benchmarks/physics_speed.py

fuzz: $(VENV)/.installed  ## try every argument, and random images with everything that goes wrong (half an hour)
	$(BIN)/python benchmarks/fuzz_arguments.py
	$(BIN)/python benchmarks/fuzz_images.py
	$(BIN)/python benchmarks/fuzz_maps.py
	$(BIN)/python benchmarks/fuzz_measured.py

fuzz-files: $(VENV)/.installed  ## interrupt saves, tamper with files and stored models (a quarter of an hour)
	$(BIN)/python benchmarks/fuzz_saving.py
	$(BIN)/python benchmarks/fuzz_files.py

$(FLOORS)/.installed: pyproject.toml benchmarks/floors.py
	$(PYTHON) -m venv $(FLOORS)
	$(PYTHON) benchmarks/floors.py > $(FLOORS)/constraints.txt
	$(FLOORS)/bin/python -m pip install --quiet -c $(FLOORS)/constraints.txt -e ".[tests,distributed,search]"
	touch $@

floors: $(FLOORS)/.installed  ## test with the lowest versions that pyproject.toml claims (ten minutes, 5 GB)
	$(FLOORS)/bin/python -m pytest -n 2 --dist loadfile tests/test_ensemble tests/test_components tests/test_compute tests/test_image tests/test_network tests/test_zlp tests/test_training tests/test_signals

fingerprints: $(VENV)/.installed  ## print fingerprints of results, to hold against those of other code
	$(BIN)/python benchmarks/fingerprints.py $(if $(AGAINST),--against "$(AGAINST)")

$(PEERS)/.installed: benchmarks/requirements-peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --upgrade pip
	$(PEERS)/bin/python -m pip install --quiet -r benchmarks/requirements-peers.txt
	touch $@

bench-gui: $(VENV)/.installed  ## time the figures and the window, and what they leave behind (six minutes)
	$(BIN)/python -m pip install --quiet ipympl PySide6-Essentials hyperspy_gui_traitsui
	$(BIN)/python benchmarks/gui.py
	$(BIN)/python benchmarks/gui.py --backend widget --parts drags steps followers
	@command -v xvfb-run > /dev/null || { echo "Qt not timed: xvfb-run is not found (Debian: apt-get install xvfb libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1)"; exit 1; }
	xvfb-run -a $(BIN)/python benchmarks/gui.py --backend qtagg --parts drags steps followers

overview: $(VENV)/.installed  ## draw the figure at the top of the README
	$(BIN)/python benchmarks/overview.py

bench-peers: $(PEERS)/.installed  ## install EELSFitter beside, for the benchmarks

docs: $(VENV)/.installed  ## build the documentation, warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -n -b html docs docs/_build/html

style: $(VENV)/.installed  ## print figures of layout and style
	$(BIN)/python benchmarks/style.py $(if $(PLACES),--places)

lint: $(VENV)/.installed  ## check style
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

clean:  ## remove what the targets made
	rm -rf $(VENV) $(PEERS) $(FLOORS) build dist *.egg-info docs/_build docs/reference/generated demo_output benchmarks/output
