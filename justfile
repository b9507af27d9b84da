# The one door for people and for CI. `just --list` names what there is.

set shell := ["bash", "-euo", "pipefail", "-c"]

bin := justfile_directory() / ".venv/bin"
python := bin / "python"
# runs a command with the DOCKER_HOST of an engine that answers, after starting a private one if there is none
with_engine := python + " scripts/engine.py run"

[private]
default:
    @"{{ just_executable() }}" --justfile "{{ justfile() }}" --list

# make .venv hold what the locks say
setup:
    @scripts/bootstrap.sh

# use a Docker engine that answers, or start a private one
engine: setup
    @{{ python }} scripts/engine.py start >/dev/null

# build the container images that are missing from the engine
images: setup
    @{{ with_engine }} {{ python }} runtime_images/build.py

# fetch the data sets of examples/
demo-data: images
    @{{ with_engine }} {{ python }} scripts/demo_data.py

# lint, types, import rules, locks, architecture; needs no engine
check: setup
    {{ bin }}/ruff check
    {{ bin }}/ruff format --check
    {{ bin }}/mypy
    {{ bin }}/mypy scripts/*.py
    {{ bin }}/mypy runtime_images/*.py
    {{ bin }}/mypy runtime_images/query/runner.py
    {{ bin }}/mypy runtime_images/python/runner.py
    {{ bin }}/mypy runtime_images/encrypted/runner.py
    {{ bin }}/lint-imports
    {{ python }} scripts/lock.py --check
    {{ python }} -m pytest -q tests/architecture

# repair what a tool can repair
fix: setup
    {{ bin }}/ruff check --fix
    {{ bin }}/ruff format

# what the tests of the compiled pass need: they compile it with warnings as errors, and with sanitizers
[private]
compiler:
    @command -v gcc >/dev/null || scripts/system_packages.sh gcc libc6-dev

# all tests but the slow ones
test *args: demo-data compiler
    {{ with_engine }} {{ python }} -m pytest -m "not slow" {{ args }}

# all tests
test-all *args: demo-data compiler
    {{ with_engine }} {{ python }} -m pytest {{ args }}

# hostile programs against the sandbox, in every tier the engine has; ends with a table
test-attacks *args: images
    {{ with_engine }} {{ python }} -m pytest tests/attacks {{ args }}

# measure the privacy loss of pass and gate on neighbouring inputs
audit-dp *args: demo-data
    {{ with_engine }} {{ python }} -m pytest tests/statistical {{ args }}

# the whole job on real data, from nothing; leaves nothing running
demo *args: demo-data
    @{{ python }} scripts/engine.py demo {{ python }} scripts/demo.py {{ args }}

# hospitals and banks that hand over ciphertexts only, and a key holder
demo-encrypted *args: demo-data
    @{{ python }} scripts/engine.py demo {{ python }} scripts/demo_encrypted.py {{ args }}

# the demo's server with both tables, in the foreground; ends with Ctrl-C or `just stop`
serve *args: demo-data
    @{{ with_engine }} {{ python }} scripts/demo.py --serve {{ args }}

# end what `serve` is running, then the private engine
stop:
    @python3 scripts/engine.py stop

# submit-to-release time of the flights query
bench-latency *args: demo-data
    {{ with_engine }} {{ python }} -m benchmarks.latency {{ args }}

# write the lock files again, keeping their versions; `just lock --upgrade` takes the newest
lock *args: setup
    {{ python }} scripts/lock.py {{ args }}

# what the pass and the gate cost, beside what is planned for them
bench-costs: setup
    {{ python }} -m benchmarks.costs

# how accurate the example programs are on the real data; writes docs/examples.md
bench-accuracy: demo-data
    {{ with_engine }} {{ python }} -m benchmarks.program_accuracy

# what a block of a program costs beside its own work, and 1,000 blocks in two lanes
bench-programs: images
    {{ with_engine }} {{ python }} -m benchmarks.programs

# the lanes of a program on one Ray node and on two
bench-nodes: images
    {{ with_engine }} {{ python }} -m benchmarks.two_nodes

# sums of ciphertexts beside memory and TenSEAL; encryption and decryption
bench-encrypted: setup
    {{ python }} -m benchmarks.encrypted

# a file that becomes a version, beside pyarrow with all rows in memory
bench-ingest: setup
    {{ python }} -m benchmarks.ingest
