#!/usr/bin/env bash
# Install the test extra in an environment of its own and run the tests; arguments go to pytest.
#
#   bash tests/run.sh                    all
#   bash tests/run.sh tests/metrics -x   some
#
# PYTHON: the interpreter (python3); SPKVER_VENV: where the environment is (.venv-test).
set -euo pipefail
source "$(dirname "$0")/../recipes/environment.sh"
cd "$(dirname "$0")/.."
venv=${SPKVER_VENV:-$PWD/.venv-test}
make_environment "$venv" test
exec "$venv/bin/python" -m pytest "$@"
