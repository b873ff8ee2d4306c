#!/usr/bin/env bash
# speechocean762: real speech of 250 speakers. Train on the 125 official training speakers, test on the other 125.
#
#   bash recipes/speechocean762/run.sh --corpus ROOT --trials DIR             all stages
#   bash recipes/speechocean762/run.sh --trials DIR --stage 5 --stop-stage 6  the final network only
#
# Options: --corpus ROOT (the published corpus, or its opus tree), --trials DIR (with speechocean762_test.txt and
# speechocean762_test_hard.txt), --stage N, --stop-stage M, --jobs N (processes), --network NAME (conf/NAME.yaml),
# --source feats|packs (packs to train on; resnet34_gpu needs packs).
# Output goes to data/ and exp/ in this folder. A stage that is run again skips what is complete.

corpus=
trials=
network=xvector
source=feats
source "$(dirname "$0")/../common.sh"
here=recipes/speechocean762
data=$here/data
exp=$here/exp
source $here/scores.sh

if stage 0 "environment"; then
  install tensorboard
fi

if stage 1 "data directories: the official split; 20 training speakers held out for development"; then
  [[ -n $corpus ]] || die "--corpus is needed: the root of speechocean762"
  python -m data_prep.speechocean762 "$corpus" "$data" --dev-speakers 20 --seed 1
fi

if stage 2 "audio packs"; then
  for split in train train_core dev test; do
    spkver pack "$data/$split" "$exp/packs/$split" --jobs "$jobs"
  done
fi

if stage 3 "filterbank features; for training also at 0.9 and 1.1 times the speed, as new speakers"; then
  for split in train train_core; do
    spkver features "$exp/packs/$split" "$exp/feats/$split" --speed 0.9 --speed 1.1 --jobs "$jobs"
  done
  for split in dev test; do
    spkver features "$exp/packs/$split" "$exp/feats/$split" --jobs "$jobs"
  done
fi

if stage 4 "development: training without the 20 speakers, error rates on them"; then
  spkver train "$here/conf/$network.yaml" --out "$exp/$network-dev" --resume \
    data.train="$exp/$source/train_core" data.dev="$exp/$source/dev"
fi

if stage 5 "the final network: all 125 speakers, the same number of steps"; then
  spkver train "$here/conf/$network.yaml" --out "$exp/$network" --resume data.train="$exp/$source/train"
fi

if stage 6 "the final network on the test lists: cosine, and adaptive S-norm with a cohort of training recordings"; then
  need_trials
  scores "$exp/$network"
  spkver extract "$exp/feats/train" "$exp/$network/train.parquet" --model "$exp/$network/model"
  for list in $lists; do
    spkver normalise "$exp/$network/${list}_whole.scores" "$exp/$network/test_whole.parquet" \
      "$exp/$network/train.parquet" "$exp/$network/${list}_snorm.scores" --top 400
    spkver report "$network=$exp/$network/${list}_whole.scores" "S-norm=$exp/$network/${list}_snorm.scores" \
      --trials "$trials/$list.txt" --title "$list" --out "$exp/report/$network/$list"
  done
fi
