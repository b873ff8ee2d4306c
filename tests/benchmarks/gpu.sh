#!/usr/bin/env bash
# All GPU tests and benchmarks, in parts of a few minutes each:
#
#   bash tests/benchmarks/gpu.sh OUT                      # all parts; writes one log per part to OUT
#   bash tests/benchmarks/gpu.sh OUT tests training       # some parts
#
# Needs torch with CUDA and Triton; pytest, hypothesis, pytorch-metric-learning; pydantic, click, pyarrow, soundfile,
# safetensors, scipy, tqdm, pyyaml. DEVICE=cpu runs it without a GPU; LIMIT: maximum seconds per part. If a part fails,
# the others still run.

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
