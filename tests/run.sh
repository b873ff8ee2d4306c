#!/usr/bin/env bash
# Install the test extra in a separate environment and run the tests, one thread each, in one process more than there
# are cores (at most 4), because some tests wait for others' processes.
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
workers=$(($("$venv/bin/python" -c "import os; print(os.cpu_count())") + 1))
exec "$venv/bin/python" -m pytest -n "$workers" --maxprocesses 4 --dist loadfile "$@"
