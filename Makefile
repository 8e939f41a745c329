# Every target sets up .venv by itself; `make help` lists them.
PYTHON ?= python3
SEEDS  ?= 0,1,2
ARGS   ?=
DATA   ?=
CHOSEN := $(value PRESET)$(value DATA)
PRESET ?= $(if $(value DATA),writeup,demo)
CORES  := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 1)
LAUNCHER ?= local
LR       ?= x10
EPOCHS   ?=
MOST     ?= 20
# Runs at once: a number, or auto for what the cores, GPUs and memory here carry best (make plan says which and why).
JOBS   ?= auto

BIN      := .venv/bin
READY    := .venv/.ready
CLUSTERS := .venv/.clusters
BROWSER  := .venv/.browser
BENCH    := .venv/.bench
PARQUET  := .venv/.parquet
TRACKERS := .venv/.trackers
OLDEST   := .venv-oldest/.ready
OLDEST_TRAINING := .venv-oldest-training/.ready
NEWEST   := .venv-newest/.ready
SLURM    := slurm-wlm slurmdbd munge mariadb-server
LATEX    := texlive-xetex texlive-latex-recommended lmodern
SECTIONS := $(basename $(notdir $(wildcard conf/section/*.yaml)))
FIVE     := dropout,norm,lr_schedule,residual,depth
CROSSED  ?= residual_depth,norm_lr,norm_dropout,stem_pool,ladder
comma    := ,

# A setting of the program that is given as a variable would be passed over in silence, and a plan would train.
VARIABLES := SEEDS JOBS PRESET LAUNCHER DATA LR EPOCHS MOST CROSSED PYTHON ARGS
GIVEN     := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
UNKNOWN   := $(firstword $(filter-out $(VARIABLES) CI SHELL MAKE%,$(GIVEN)))
TYPED      = $(UNKNOWN)=$(value $(UNKNOWN))
MEANT      = $(firstword $(filter $(UNKNOWN)%,$(VARIABLES)))
WAY_OUT    = $(if $(MEANT),Did you mean $(MEANT)=$(value $(UNKNOWN))?,A setting goes into ARGS: ARGS="$(TYPED)")
$(if $(UNKNOWN),$(error $(TYPED): make has no such variable. It has $(VARIABLES). $(WAY_OUT)))

# So would a variable be that the target has no use for: `make demo EPOCHS=3` would train 25 epochs.
USES_LR      := robustness
USES_EPOCHS  := robustness
USES_MOST    := more-seeds
USES_CROSSED := study plan
USES_SEEDS   := demo study plan robustness sweep-%
MEANS_LR     := optim.lr
MEANS_EPOCHS := trainer.epochs
UNUSED := $(firstword $(foreach name,LR EPOCHS MOST CROSSED SEEDS,$(if $(filter $(name),$(GIVEN)),\
	$(if $(filter $(USES_$(name)),$(MAKECMDGOALS)),,$(name)))))
IN_ARGS = $(if $(MEANS_$(UNUSED)),. For one setting of all runs: ARGS="$(MEANS_$(UNUSED))=$(value $(UNUSED))")
$(if $(UNUSED),$(error $(UNUSED)=$(value $(UNUSED)): of use to make $(USES_$(UNUSED)), not to make $(MAKECMDGOALS)$(IN_ARGS)))

# Text as one shell word, and as one quoted value of an override. `$(value DATA)` is what was typed, a $ included.
one_word = '$(subst ','\'',$(1))'
quoted   = "$(subst ",\",$(1))"
SETTING  = $(call one_word,preset=$(PRESET)) $(if $(value DATA),$(call one_word,data.root=$(call quoted,$(value DATA))))
AT_ONCE  = $(call one_word,hydra.launcher.jobs=$(JOBS))
# Another engine says what it has in place of jobs at once.
ENGINE   = $(if $(filter local,$(LAUNCHER)),$(AT_ONCE),$(call one_word,hydra/launcher=$(LAUNCHER)) $(if $(filter JOBS,$(GIVEN)),$(AT_ONCE)))
RUNS     = $(ENGINE) $(call one_word,seed=$(SEEDS)) $(SETTING)
SWEEP    = $(BIN)/python -m ablation.train -m $(RUNS)
STUDY    = $(call one_word,+section=$(FIVE)$(if $(CROSSED),$(comma)$(CROSSED)))
CONDITIONS = $(call one_word,lr=$(LR)) $(if $(EPOCHS),$(call one_word,epochs=$(EPOCHS)))
# Without PRESET and DATA, ARGS alone say which runs are meant, and without those it is the setting of the newest run.
ASKED    = $(if $(CHOSEN),$(SETTING))
# Runs that another program made have no setting of ours.
REPORT   = $(BIN)/python -m ablation.report $(if $(findstring report.from=,$(value ARGS)),,$(ASKED)) $(value ARGS)
# After a sweep the report is of its setting. A plan trains nothing, so there is nothing new to report after it.
THEN_REPORT = $(if $(filter plan=true 'plan=true' "plan=true",$(value ARGS)),,$(BIN)/python -m ablation.report $(SETTING) $(value ARGS))

PYTEST   = $(BIN)/python -m pytest
# A test may start a sweep of its own, so a few at a time; the one Slurm of the cluster tests is not shared.
SIDE_BY_SIDE := -n $(CORES) --maxprocesses 4

.PHONY: help setup clusters browser bench parquet trackers latex oldest oldest-training newest demo test check format study plan robustness more-seeds report open clean clean-cache

help:  ## Show this list
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18
	@echo
	@echo "sections:   $(SECTIONS)"
	@echo "variables:  SEEDS=$(SEEDS) JOBS=$(JOBS) PRESET=$(PRESET) LAUNCHER=$(LAUNCHER) DATA=... ARGS=\"name=value ...\""

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@echo 'Once: install this project and what it needs into .venv; PyTorch is large'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(CLUSTERS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,joblib,slurm,ray]'
	touch $@

clusters: $(CLUSTERS)  ## The cluster engines and, as root on Debian, a Slurm to test with
	@PATH="$$PATH:/usr/sbin"; { command -v slurmctld && command -v slurmdbd && command -v munged; } >/dev/null \
	|| { test "$$(id -u)" = 0 && apt-get -q update && apt-get -qy install --no-install-recommends $(SLURM); } \
	|| echo "Slurm is not installed ($(SLURM)); its tests are skipped."

$(BROWSER): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,browser]'
	touch $@

browser: $(BROWSER)  ## What tests the page in a browser and, as root on Debian, the browser
	@command -v chromium >/dev/null \
	|| { test "$$(id -u)" = 0 && apt-get -q update && apt-get -qy install --no-install-recommends chromium; } \
	|| echo "chromium is not installed; the tests of the page in a browser are skipped."

$(BENCH): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench,joblib]'
	touch $@

bench: $(BENCH)  ## The programs that `python -m benchmarks.peers` compares with

$(PARQUET): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,parquet]'
	touch $@

parquet: $(PARQUET)  ## What reads data=parquet, to test it with

$(TRACKERS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,tensorboard,mlflow,wandb]'
	touch $@

trackers: $(TRACKERS)  ## TensorBoard's, MLflow's and W&B's writers, to test logger= with (220 MB)

latex:  ## As root on Debian, what tests that the LaTeX tables compile
	@command -v xelatex >/dev/null \
	|| { test "$$(id -u)" = 0 && apt-get -q update && apt-get -qy install --no-install-recommends $(LATEX); } \
	|| echo "LaTeX is not installed ($(LATEX)); its tests are skipped."

# No compiling: where a Python is too new to have wheels of the oldest versions, there is nothing to test with it.
$(OLDEST): pyproject.toml tests/oldest.py | $(READY)
	rm -rf $(@D)
	$(BIN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
	--only-binary=matplotlib,numpy,pandas,pillow,scipy $$($(BIN)/python tests/oldest.py) && touch $@ \
	|| echo "The oldest versions of pyproject.toml cannot be installed here; their test is skipped."

oldest: $(OLDEST)  ## The oldest libraries that the report supports, to test it with (.venv-oldest, without torch)

$(OLDEST_TRAINING): pyproject.toml tests/oldest.py | $(READY)
	rm -rf $(@D)
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
	--only-binary=matplotlib,numpy,pandas,pillow,scipy,torch,torchvision $$($(BIN)/python tests/oldest.py training)
	touch $@

oldest-training: $(OLDEST_TRAINING)  ## The oldest PyTorch and all else, to train with (.venv-oldest-training, 6 GB)
	$(PYTEST) tests/test_versions.py

# The pre-releases of the two libraries that compose configs, before those of .venv; nothing large is installed twice.
$(NEWEST): pyproject.toml | $(READY)
	rm -rf $(@D)
	$(BIN)/python -m venv $(@D)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' \
	> "$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/shared.pth"
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --pre --ignore-installed --no-deps \
	'hydra-core<1.5' omegaconf
	touch $@

# Launchers that `make clusters` installed may call what the pre-release warns of.
newest: OF_LAUNCHERS := 'ignore:register_new_resolver() is deprecated'
newest: $(NEWEST)  ## The tests of configs, command lines and sweeps with the pre-release of Hydra
	PYTHONPATH=$(CURDIR) PYTHONWARNINGS=$(OF_LAUNCHERS) \
	.venv-newest/bin/python -m pytest -m 'not cluster' $(SIDE_BY_SIDE) -W $(OF_LAUNCHERS) \
	$(patsubst %,tests/test_%.py,commandline composition config configdir engines help sweep)

setup: $(READY)  ## Install everything into .venv

demo: $(READY)  ## The write-up's five sections on the embedded images, then the report
	@echo $(call one_word,Step 1 of 2: train each level of five sections with seeds $(value SEEDS); finished runs are kept)
	$(SWEEP) +section=$(FIVE) $(value ARGS)
	$(if $(THEN_REPORT),@echo 'Step 2 of 2: compare seed by seed with the reference; write tables$(comma) figures and one page')
	$(THEN_REPORT)

study: $(READY)  ## The five sections and the CROSSED ones under PRESET, SEEDS, DATA and ARGS, then the report
	$(SWEEP) $(STUDY) $(value ARGS)
	$(THEN_REPORT)

robustness: $(READY)  ## The five sections at other learning rates (LR=x10) and budgets (EPOCHS=x2), side by side
	$(BIN)/python -m ablation.robustness $(RUNS) +section=$(FIVE) $(CONDITIONS) $(value ARGS)

more-seeds: $(READY)  ## What is open, how many fresh seeds find it, and those trained (up to MOST=20)
	$(BIN)/python -m ablation.more_seeds $(ENGINE) $(ASKED) $(call one_word,most=$(MOST)) $(value ARGS)

sweep-%: $(READY)  ## One section, for example: make sweep-norm SEEDS=0,1
	$(SWEEP) $(call one_word,+section=$*) $(value ARGS)

plan: $(READY)  ## What `make study` would train, and how long it takes
	$(SWEEP) $(STUDY) plan=true $(value ARGS)

report: $(READY)  ## Tables, figures and the page from the runs there are
	$(REPORT)

open: $(READY)  ## The report in your browser, made anew where runs have moved on
	$(REPORT) --open

test: $(READY) $(OLDEST) $(if $(CI),clusters browser latex bench parquet trackers)  ## All tests; `make clusters browser latex bench parquet trackers` once adds those of engines, page, tables, peers, parquet and trackers
	$(PYTEST) -m 'not cluster' $(SIDE_BY_SIDE)
	$(PYTEST) -m cluster

check: $(READY) $(OLDEST)  ## Format, lint, types and the quick tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -m 'not slow and not cluster' $(SIDE_BY_SIDE)

format: $(READY)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove caches; runs, reports and what was installed stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache dist
	find ablation tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

clean-cache: $(READY)  ## Remove decoded images from the cache folder (ARGS="data.cache_dir=/path" for another one)
	$(BIN)/python -m ablation.data clean $(value ARGS)
