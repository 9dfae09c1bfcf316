#!/bin/sh
# Makes .venv with everything the lock files name. Needs Python 3.11+ and nothing else.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Intarsia needs Python 3.11 or newer; $python is $("$python" --version 2>&1). Try: make PYTHON=python3.12" >&2
  exit 2
}
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock

# Where pip can find a CPU build of torch (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL, pip.conf), take it and
# leave out the gigabytes of GPU libraries; elsewhere the lock's own torch is installed.
# Set INTARSIA_TORCH=gpu to skip this step.
excludes=$(mktemp)
trap 'rm -f "$excludes"' EXIT
if [ "${INTARSIA_TORCH:-cpu}" = cpu ] && .venv/bin/python -m pip install --quiet --disable-pip-version-check \
  --no-deps --require-hashes -r requirements-torch-cpu.lock >/dev/null 2>&1; then
  grep -oE '^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==' requirements.lock | tr -d '=' > "$excludes"
fi
.venv/bin/uv pip install --quiet --python .venv --no-deps --require-hashes --excludes "$excludes" -r requirements.lock
.venv/bin/uv pip install --quiet --python .venv --no-deps --require-hashes -r assets.txt
.venv/bin/uv pip install --quiet --python .venv --no-deps --no-build-isolation -e .
