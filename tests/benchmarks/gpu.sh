#!/usr/bin/env bash
# All that is measured on a GPU, in parts of some minutes each, for a machine that is lent for half an hour:
#
#   bash tests/benchmarks/gpu.sh OUT                      # every part, a log of each in OUT
#   bash tests/benchmarks/gpu.sh OUT tests training       # some
#
# It needs torch with CUDA and Triton; pytest, hypothesis, pytorch-metric-learning; pydantic, click, pyarrow, soundfile,
# safetensors, scipy, tqdm, pyyaml. DEVICE=cpu tries it where there is none; LIMIT is the seconds that a part may take. A
# part that fails stops no other.

set -uo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
device=${DEVICE:-cuda}
python=${PYTHON:-python3}
bench=tests/benchmarks
out=${1:?where the logs go}
shift
mkdir -p "$out"

run() {
  case $1 in
    tests) $python -m pytest -q -m gpu --continue-on-collection-errors -rf tests ;;
    training) $python $bench/training.py --device "$device" --models xvector resnet34 --compile no --batch 512 ;;
    compiled) $python $bench/training.py --device "$device" --models resnet34 --compile yes --batch 512 ;;
    head)
      $python $bench/head.py --device "$device" --batch 512 --dim 256 --classes 10000 100000 1000000 \
        --heads dense chunked fused fused:tf32
      ;;
    huge) $python $bench/head.py --device "$device" --batch 512 --dim 256 --classes 10000000 --heads fused --momentum ;;
    models) $python -m spkver models --device "$device" --runtime eager --runtime compiled --markdown ;;
    doctor) $python -m spkver doctor ;;
    *) echo "no such part; one of $parts" >&2 && return 2 ;;
  esac
}

parts="doctor tests training compiled head huge models"
failed=
for part in ${*:-$parts}; do
  echo "=== $part"
  export -f run
  export device python bench parts
  timeout "${LIMIT:-540}" bash -c "run $part" > "$out/$part.log" 2>&1 || failed+=" $part"
  tail -n 30 "$out/$part.log"
done
[[ -z $failed ]] || { echo "failed:$failed" >&2 && exit 1; }
