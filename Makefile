# Everything starts here, from a bare clone. `make help` lists it.

PYTHON ?= python3
PYTHON_WAS := $(origin PYTHON)
GPU ?=
EXTRAS ?=
MODEL ?= kangae-tiny
OUT ?= out
RUN ?= $(OUT)/train-tiny$(if $(SMOKE),-smoke)
FOLDER ?= $(OUT)/kangae-tiny-GPTQ-4bit-g128
TOKENS ?= 80_000_000
BIN := .venv/bin
export QUESTION := $(if $(value Q),$(value Q),$(value q))

# Makes .venv or brings it up to date; done in a moment where nothing changed.
environment = @command -v $(PYTHON) >/dev/null || { echo "kangae: $(PYTHON) was not found; install Python 3.11 or newer, or name one: make run PYTHON=/path/to/python3" >&2; exit 1; }; \
	$(PYTHON) scripts/environment.py $(if $(filter file,$(PYTHON_WAS)),--search) --gpu "$(GPU)" --extras "$(1)$(if $(EXTRAS),$(if $(1),$(comma))$(EXTRAS))"
comma := ,

.PHONY: help run ask test test-train check check-autogptq format train-tiny quantize card quantize-card control bench deadlines \
	screen clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  GPU=cuda|vulkan|metal|cpu  how llama.cpp is built (kept until another is named)"
	@echo "  PYTHON=...                 the interpreter of the environment (3.11 or newer)"
	@echo "  EXTRAS=serve,onnx,...      extras of pyproject.toml to install as well"

run: ## install what is missing and open the terminal interface
	$(call environment,)
	@test -t 0 && test -t 1 && test -t 2 || { echo 'kangae: all is installed, but the interface needs a terminal; without one, ask with: make ask Q="What is 47 * 8?"' >&2; exit 2; }
	@$(BIN)/kangae

ask: ## one reply: make ask Q="What is 47 * 8?" [ARGS="--budget 64"]
	@test -n "$$QUESTION" || { echo 'kangae: no question was given; try: make ask Q="What is 47 * 8?"' >&2; exit 2; }
	$(call environment,)
	@$(BIN)/kangae ask $(ARGS) -- "$$QUESTION"

test: ## the tests that need neither torch nor a GPU nor a network [ARGS="tests/runtime -x"]
	$(call environment,dev)
	@$(BIN)/python -m pytest $(ARGS)

test-train: ## the trainer's tests (installs torch)
	$(call environment,dev$(comma)train)
	@$(BIN)/python -m pytest -m train $(ARGS)

check: ## format, lint, strict types, import contracts, documents against the code
	$(call environment,dev)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/test_imports.py tests/test_docs.py

# An environment of its own: auto-gptq wants a transformers that nothing else here can use. The mark is its last file.
AUTOGPTQ := .venv-auto-gptq
AUTOGPTQ_MARK := $(AUTOGPTQ)/auto-gptq-0.7.1

check-autogptq: ## whether auto-gptq 0.7.1 reads a GPTQ folder as it was written (installs torch apart) [FOLDER=...]
	$(call environment,)
	@test -f "$(AUTOGPTQ_MARK)" || { rm -rf $(AUTOGPTQ) && $(BIN)/python -m venv $(AUTOGPTQ) && \
		$(AUTOGPTQ)/bin/pip install --quiet torch==2.13.0 && \
		$(AUTOGPTQ)/bin/pip install --quiet setuptools wheel 'transformers<=4.57.6' 'numpy<2.4' accelerate 'peft==0.13.2' && \
		BUILD_CUDA_EXT=0 $(AUTOGPTQ)/bin/pip install --quiet auto-gptq==0.7.1 && touch "$(AUTOGPTQ_MARK)"; }
	$(if $(filter file,$(origin FOLDER)),@test -d "$(FOLDER)" || $(BIN)/kangae quantize kangae-tiny --to gptq:4 --output "$(FOLDER)")
	@$(AUTOGPTQ)/bin/python scripts/check_autogptq.py "$(FOLDER)" $(ARGS)

format: ## lay the code out as `make check` wants it
	$(call environment,dev)
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

train-tiny: ## train the small model, export it, quantize it, measure it; goes on where it stopped [TOKENS=80_000_000] [SMOKE=1] [RUN=folder]
	$(call environment,train)
	@$(BIN)/python -m models.tiny.train "$(RUN)" $(if $(SMOKE),--smoke,--tokens $(TOKENS)) \
		$$(test -f "$(RUN)/checkpoint.pt" && echo --resume) $(ARGS)
	@$(BIN)/python -m models.tiny.export "$(RUN)" --folder "$(RUN)/huggingface" --gguf "$(RUN)/kangae-tiny-F16.gguf"
	@$(BIN)/kangae quantize "$(RUN)/kangae-tiny-F16.gguf" $(if $(SMOKE),--to gguf:Q8_0,--table) --output "$(RUN)/" --force
	$(if $(SMOKE),,@$(BIN)/kangae bench budget -m "$(RUN)/kangae-tiny-Q8_0.gguf" --problems models/tiny/problems.jsonl)

quantize: ## the shipped model in every usual form, with a table of what each costs [MODEL=...] [OUT=out] [ARGS="-n 100"]
	$(call environment,)
	@$(BIN)/kangae quantize "$(MODEL)" --table --output "$(OUT)" $(ARGS)

card: ## measure the model that ships and write the figures into its card and the README [OUT=out]
	$(call environment,)
	@$(BIN)/python scripts/tiny_card.py "$(OUT)/card" $(ARGS)

quantize-card: ## measure what making a model small costs, an hour or two, and write it into docs/quantization.md and the README [OUT=out]
	$(call environment,)
	@$(BIN)/python scripts/quantize_card.py "$(OUT)/quantize-card" $(ARGS)

control: ## measure thinking control on this machine, two hours, and write the figures into docs/control.md [OUT=out]
	$(call environment,)
	@$(BIN)/python scripts/control_card.py "$(OUT)/control" $(ARGS)

# Of the model that ships, forms that `make quantize` wrote are measured too; another model stands alone.
bench: ## speed, accuracy by thinking budget, and what the forms of the model cost, on this machine [MODEL=...] [ARGS="-n 100", flags of both]
	$(call environment,)
	@$(BIN)/kangae bench speed -m "$(MODEL)"
	@$(BIN)/kangae bench budget -m "$(MODEL)" $(ARGS)
	@$(BIN)/kangae bench quant $(if $(filter kangae-tiny,$(MODEL)),$(wildcard $(OUT)/kangae-tiny-*.gguf),-m "$(MODEL)") $(ARGS)

deadlines: ## whether deadlines are kept on this machine [ARGS="--shipped", "--cancel"]
	$(call environment,)
	@$(BIN)/python scripts/deadline_trial.py $(ARGS)

screen: ## draw the README's picture anew, docs/screen.svg, with replies of the model that ships [ARGS="--size 90x28"]
	$(call environment,)
	@$(BIN)/python -m tui.screenshot docs/screen.svg $(ARGS) --unfold \
		"There are 320 bolts on the shelf. We ship 145. Then 60 arrive. How many are left?" "47*8は?"

clean: ## remove the environment and caches (models in out/ and the kept llama.cpp builds stay)
	@rm -rf .venv .venv.lock $(AUTOGPTQ) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find models runtime quantize edge tui scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
