#!/bin/sh
# Writes the hashed lock files from pyproject.toml. Run by `make lock` after a dependency changed.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
# torch is held at the version whose CPU build requirements-torch-cpu.lock names.
echo "torch==2.13.0" > .lock-constraints
trap 'rm -f .lock-constraints' EXIT
"$uv" pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 \
  --extra all -c .lock-constraints pyproject.toml -o requirements.lock
echo "uv" | "$uv" pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 \
  - -o requirements-uv.lock
