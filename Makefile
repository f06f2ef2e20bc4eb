# make venv | test | lint | docs | demo | interchange | study | bench | fuzz | torture | clean
#   PYTHON=/path/to/python3.12   the interpreter of the environment
#   DEBS=folder                  the demo's packages, instead of apt
#   LONG=1 CONTROL=1 SEED=2      make demo trains for longer, on pairs alone, with another seed
#   DATA=folder                  of slam prepare english, for make interchange; else the demo's, or fetched
#   ROWS="0 4" TASKS="asr10 st-de" SEEDS="1 2 3" SCALE=cpu   a part of the study
#   QUICK=1 ONLY="layer step"    a quick benchmark, or parts of it
#   N=100000 JOBS=2              make fuzz runs so many cases, in so many processes
#   KILLS=200 SEED=1             how often make torture kills a training, and the seed of the moments

VENV := .venv
RUN := $(VENV)/bin/python
# Stamps: the environment holds exactly requirements.lock after the first, and the plugin after the second.
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed

.PHONY: venv test lint docs demo interchange study bench fuzz torture clean
.DEFAULT_GOAL := venv

venv: $(INSTALLED)

# An environment without this stamp is left from a killed run or another lock file: start over. pip caches downloads.
$(LOCKED): requirements.lock
	@python=$$(PYTHON='$(PYTHON)' sh .ci/find_python) || exit 1; \
	echo "making $(VENV) with $$($$python --version) ($$python)"; \
	rm -rf $(VENV) && $$python -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

# The link lets fairseq find `--user-dir slam_plugin` from any folder: fairseq looks beside its own package.
$(INSTALLED): $(LOCKED) setup.py pyproject.toml
	$(RUN) -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@ln -sfn "$(CURDIR)/slam_plugin" "$$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/slam_plugin"
	@touch $@

# Bytecode is written, whatever the environment says: each worker would compile the tests, and each program the plugin.
test: venv
	PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: venv
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

# The reference from the code, the study's tables from its records, and the manual as a site in build/docs.
docs: venv
	$(RUN) -m docs.reference
	$(RUN) -m docs.study_tables
	$(RUN) -m mkdocs build --strict --quiet

demo: venv
	DEBS='$(DEBS)' $(RUN) -m examples.slam.demo $(if $(LONG),--long) $(if $(CONTROL),--control) $(if $(SEED),--seed $(SEED))

# A model of transformers comes in, is continued jointly, and goes back (docs/continue_w2v_bert_2.md).
interchange: venv
	DEBS='$(DEBS)' $(RUN) -m examples.slam.w2v_bert_2 $(if $(DATA),--data $(DATA)) $(if $(SEED),--seed $(SEED))

# Not COLUMNS, the width of a terminal.
study: venv
	DEBS='$(DEBS)' $(RUN) -m examples.slam.study $(if $(ROWS),--rows $(ROWS)) $(if $(TASKS),--columns $(TASKS)) \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(SCALE),--scale $(SCALE))
	$(RUN) -m examples.slam.study.report $(if $(SCALE),--scale $(SCALE))

# QUICK=1 and ONLY="layer step" do not overwrite the committed figures.
bench: venv
	$(RUN) -m benchmarks $(if $(QUICK),--scale quick) $(if $(ONLY),--only $(ONLY)) \
		$(if $(QUICK)$(ONLY),--out runs/benchmarks_part.json)

# Every reader of users' files under damaged and invented input (tests/fuzz). Files of findings are in build/fuzz.
fuzz: venv
	$(RUN) -m tests.fuzz --cases $(or $(N),20000) $(if $(JOBS),--jobs $(JOBS))

# A toy training is killed again and again, and must end with the same numbers as one that was not.
torture: venv
	$(RUN) -m tests.torture $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED))

# Removes what the other targets can make again, but not the trained models in runs/.
clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
