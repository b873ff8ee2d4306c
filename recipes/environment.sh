# How the toolkit is installed. Source this file; do not run it.
#
#   make_environment DIR EXTRAS    make a virtual environment at DIR with this clone and its EXTRAS (tensorboard,test,...)
#
# PYTHON names the interpreter (default: python3). An environment that is up to date is not changed.

die() {
  echo "$(basename "$0"): error: $*" >&2
  exit 2
}

make_environment() {
  local dir=$1 extras=$2 root state
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  local python=${PYTHON:-python3}
  if [[ ! -x $dir/bin/python ]] || ! "$dir/bin/python" -m pip --version > /dev/null 2>&1; then
    command -v "$python" > /dev/null || die "$python: not found; install Python 3.10 or later, or set PYTHON"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
      die "$("$python" --version) is too old; Python 3.10 or later is needed; set PYTHON"
    echo "making the environment $dir"
    "$python" -m venv "$dir"
  fi
  state="$extras $(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum) $root"
  if [[ $(cat "$dir/.spkver-installed" 2> /dev/null) != "$state" ]]; then
    "$dir/bin/python" -m pip install --disable-pip-version-check -c "$root/constraints.txt" -e "$root[$extras]"
    echo "$state" > "$dir/.spkver-installed"
  fi
}
