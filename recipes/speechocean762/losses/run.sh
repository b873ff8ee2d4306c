#!/usr/bin/env bash
# All losses on one small network, with the same initial weights, crops and steps: several seeds, intervals, and the
# effect of each setting of BD-LMCL. Settings are chosen on the training speakers; the test lists are scored at the end.
#
#   bash recipes/speechocean762/run.sh --corpus ROOT --stop-stage 3          first: environment, packs and features
#   bash recipes/speechocean762/losses/run.sh --trials DIR                    all stages
#
# Options: --trials DIR (with speechocean762_test.txt and speechocean762_test_hard.txt), --stage N, --stop-stage M,
# --jobs N (trainings at a time, one thread each), --seeds "1 2" (of stage 4). The runs of stages 2 to 4 are in
# conf/*.yaml. Output goes to data/ and exp/ in this folder. A stage that is run again skips what is complete.

trials=
seeds="1 2"
source "$(dirname "$0")/../../common.sh"
parent=recipes/speechocean762
source $parent/scores.sh
here=$parent/losses
data=$here/data
exp=$here/exp

if stage 0 "environment"; then
  install tensorboard
fi

if stage 1 "the training speakers in two halves: one to train on, one to choose settings"; then
  [[ -d $parent/exp/feats/train ]] || die "run $parent/run.sh --corpus ROOT --stop-stage 3 first"
  [[ -d $data/learn ]] || spkver data split "$parent/data/train" "$data/learn" "$data/choose" --share 0.5 --seed 3
  for half in learn choose; do
    spkver pack "$data/$half" "$exp/packs/$half" --jobs "$jobs"
  done
  spkver features "$exp/packs/learn" "$exp/feats/learn" --speed 0.9 --speed 1.1 --jobs "$jobs"
  spkver features "$exp/packs/choose" "$exp/feats/choose" --jobs "$jobs"
fi

if stage 2 "scale and margin of each loss, error rates on the other half"; then
  spkver sweep "$here/conf/choice.yaml" --out "$exp/choice" --jobs "$jobs"
fi

if stage 3 "the settings of BD-LMCL, in the same way"; then
  spkver sweep "$here/conf/boundary.yaml" --out "$exp/boundary" --jobs "$jobs"
fi

if stage 4 "each loss of conf/final.yaml on all training speakers; the test side of the trials whole and cut"; then
  need_trials
  lists_of_tests=()
  for list in $lists; do
    for side in whole 1 2 3; do
      lists_of_tests+=("tests.${list}_$side.trials=$trials/$list.txt")
    done
  done
  spkver sweep "$here/conf/final.yaml" "seeds=[${seeds// /, }]" "${lists_of_tests[@]}" --out "$exp/final" --jobs "$jobs"
fi
