# make venv | test | lint | demo | study | bench | clean      PYTHON=/path/to/python3.12 chooses the interpreter,
# DEBS=folder the demo's packages; LONG=1 lets the demo train for longer, CONTROL=1 on pairs alone, SEED=2 with another seed
# ROWS="0 4" TASKS="asr10 st-de" SEEDS="1 2 3" SCALE=cpu choose a part of the study

VENV := .venv
RUN := $(VENV)/bin/python
# The environment holds exactly requirements.lock once the first stamp is there, and the plugin once the second is.
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed

.PHONY: venv test lint demo study bench clean
.DEFAULT_GOAL := venv

venv: $(INSTALLED)

# An environment without this stamp is the remains of a killed run or of another lock file: start over. What pip had
# downloaded lies in its cache.
$(LOCKED): requirements.lock
	@python=$$(PYTHON='$(PYTHON)' sh .ci/find_python) || exit 1; \
	echo "making $(VENV) with $$($$python --version) ($$python)"; \
	rm -rf $(VENV) && $$python -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

# The link lets fairseq find `--user-dir slam_plugin` from any folder: it looks beside its own package.
$(INSTALLED): $(LOCKED) setup.py pyproject.toml
	$(RUN) -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@ln -sfn "$(CURDIR)/slam_plugin" "$$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/slam_plugin"
	@touch $@

test: venv
	$(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: venv
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

demo: venv
	DEBS='$(DEBS)' $(RUN) -m examples.slam.demo $(if $(LONG),--long) $(if $(CONTROL),--control) $(if $(SEED),--seed $(SEED))

# Not COLUMNS, which is the width of a terminal.
study: venv
	DEBS='$(DEBS)' $(RUN) -m examples.slam.study $(if $(ROWS),--rows $(ROWS)) $(if $(TASKS),--columns $(TASKS)) \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(SCALE),--scale $(SCALE))
	$(RUN) -m examples.slam.study.report $(if $(SCALE),--scale $(SCALE))

# QUICK=1 and ONLY="layer step" leave the committed figures as they are.
bench: venv
	$(RUN) -m benchmarks $(if $(QUICK),--scale quick) $(if $(ONLY),--only $(ONLY)) \
		$(if $(QUICK)$(ONLY),--out runs/benchmarks_part.json)

# Removes what the other targets make again; runs/, where trained models lie, stays.
clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
