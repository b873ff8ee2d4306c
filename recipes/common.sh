# Sourced by every recipe's run.sh, after the recipe has set its own variables:
#
#   margin=0.2                                  # a setting, changed by --margin 0.3
#   source "$(dirname "$0")/../common.sh"       # parses the command line, goes to the root of the repository
#   if stage 1 "filterbank features"; then ...; fi
#
# Every recipe has --stage N and --stop-stage M (run stages N to M only) and --jobs N (processes of data stages).
# Every variable that is set before this file is sourced is an option too: `some_name` is --some-name VALUE.
# --help prints the first comment of run.sh and of the files in more_help.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

stage=0
stop_stage=1000
jobs=$(nproc 2> /dev/null || echo 2)

while (($#)); do
  case $1 in
    -h | --help)
      for file in "$0" ${more_help-}; do
        sed -n '/^#!/d; /^$/q; s/^# \{0,1\}//p' "$file"
      done
      exit 0
      ;;
    --*)
      name=${1#--}
      name=${name//-/_}
      [[ $name =~ ^[a-z][a-z0-9_]*$ && -n ${!name+set} ]] || die "unknown option $1; see --help"
      (($# > 1)) || die "$1 needs a value"
      printf -v "$name" '%s' "$2"
      shift 2
      ;;
    *) die "unexpected argument '$1'; see --help" ;;
  esac
done
for name in stage stop_stage jobs; do
  [[ ${!name} =~ ^[0-9]+$ ]] || die "--${name//_/-} needs a number, got '${!name}'"
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
environment=${VIRTUAL_ENV:-$PWD/.venv}

# install EXTRAS: install this clone into the active virtual environment, or into .venv
install() {
  make_environment "$environment" "$1"
}

# stage N TITLE: true if stage N is to be run; prints its title
stage() {
  (($1 >= stage && $1 <= stop_stage)) || return 1
  if (($1 > 0)); then
    [[ -x $environment/bin/spkver ]] || die "no spkver in $environment: run stage 0 first"
    PATH=$environment/bin:$PATH
  fi
  printf '\n=== stage %d: %s\n' "$1" "$2"
}
