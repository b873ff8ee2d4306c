#!/usr/bin/env bash
# Install the test extra in a separate environment and run the tests on all cores (at most 4), one thread each.
# Arguments are passed to pytest.
#
#   bash tests/run.sh                    all tests
#   bash tests/run.sh tests/metrics -x   some tests
#
# PYTHON: interpreter (default: python3); SPKVER_VENV: folder of the environment (default: .venv-test).
set -euo pipefail
source "$(dirname "$0")/../recipes/environment.sh"
cd "$(dirname "$0")/.."
venv=${SPKVER_VENV:-$PWD/.venv-test}
make_environment "$venv" test
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$venv/bin/python" -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
