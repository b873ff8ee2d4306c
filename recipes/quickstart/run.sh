#!/usr/bin/env bash
# The whole pipeline in minutes on two CPU cores: synthetic voices, packs, features, training with BD-LMCL, embeddings,
# scores, and a table with DET curves. An untrained network and a baseline without parameters are scored for comparison.
#
#   bash recipes/quickstart/run.sh                              all stages
#   bash recipes/quickstart/run.sh --stage 4 --stop-stage 5     training and scoring
#
# Options: --stage N, --stop-stage M, --jobs N (processes), --seed N (of the corpus). The corpus goes to data/,
# everything else to exp/, both in this folder. A stage that is run again skips what is complete.

seed=1
source "$(dirname "$0")/../common.sh"
here=recipes/quickstart
data=$here/data
exp=$here/exp

if stage 0 "environment"; then
  install tensorboard,synthetic
fi

if stage 1 "a corpus of synthetic voices"; then
  python -m data_prep.synthetic "$data" --seed "$seed" --jobs "$jobs"
fi

if stage 2 "audio packs"; then
  for split in train dev eval; do
    spkver pack "$data/$split" "$exp/packs/$split" --jobs "$jobs"
  done
fi

if stage 3 "filterbank features; for training also at 0.9 and 1.1 times the speed, as new speakers"; then
  spkver features "$exp/packs/train" "$exp/feats/train" --speed 0.9 --speed 1.1 --jobs "$jobs"
  spkver features "$exp/packs/dev" "$exp/feats/dev" --jobs "$jobs"
fi

if stage 4 "training: x-vector with BD-LMCL"; then
  spkver train "$here/conf/xvector.yaml" --out "$exp/xvector" --resume
fi

if stage 5 "embeddings, cosine scores and error rates: trained, untrained, mean fbank"; then
  spkver train "$here/conf/xvector.yaml" --out "$exp/untrained" --resume train.steps=0
  spkver train "$here/conf/mean_fbank.yaml" --out "$exp/mean_fbank" --resume
  for system in xvector untrained mean_fbank; do
    spkver extract "$exp/packs/eval" "$exp/$system/eval.parquet" --model "$exp/$system/model" --jobs "$jobs"
    spkver score "$data/eval/trials.txt" "$exp/$system/eval.parquet" "$exp/$system/eval.scores"
    spkver evaluate "$exp/$system/eval.scores" --trials "$data/eval/trials.txt"
  done
fi

if stage 6 "results"; then
  spkver report \
    "x-vector, BD-LMCL=$exp/xvector/eval.scores" \
    "x-vector, untrained=$exp/untrained/eval.scores" \
    "mean fbank=$exp/mean_fbank/eval.scores" \
    --trials "$data/eval/trials.txt" --title "Synthetic voices, evaluation trials" --out "$exp/report"
  if ((seed == 1)); then # a range, because rounding differs between processors: see README.md
    spkver evaluate "$exp/xvector/eval.scores" --trials "$data/eval/trials.txt" --json | python -c '
import json, sys
rate = json.load(sys.stdin)["eer"]
print(f"x-vector: EER {rate:.2%}; 6 to 11 % is expected")
sys.exit(not 0.06 <= rate <= 0.11)' || die "the EER is outside the expected range; run spkver doctor"
  fi
fi
