#!/usr/bin/env bash
# All losses on one small network, with the same initial weights, crops and steps: several seeds, intervals, and the
# effect of each setting of BD-LMCL. Settings are chosen on the training speakers; the test lists are scored at the end.
#
#   bash recipes/speechocean762/run.sh --corpus ROOT --stop-stage 3          first: environment, packs and features
#   bash recipes/speechocean762/losses/run.sh --trials DIR                    all stages
#
# Options: --trials DIR (with speechocean762_test.txt and speechocean762_test_hard.txt), --stage N, --stop-stage M,
# --jobs N (trainings at a time, one thread each), --seeds "1 2" (of stages 4 to 6). Each line of conf/*.txt is a run.
# Output goes to data/ and exp/ in this folder. A stage that is run again skips what is complete.

trials=
seeds="1 2"
source "$(dirname "$0")/../../common.sh"
parent=recipes/speechocean762
source $parent/scores.sh
here=$parent/losses
data=$here/data
exp=$here/exp

# settings LIST: the lines `NAME SETTINGS` of conf/LIST.txt, without comments
settings() {
  sed -e 's/#.*//' -e '/^ *$/d' "$here/conf/$1.txt"
}

# each LIST SEEDS: one line `NAME DIRECTORY SETTINGS` per training
each() {
  local name overrides seed
  settings "$1" | while read -r name overrides; do
    for seed in $2; do
      echo "$name $exp/$1/$name.$seed $overrides seed=$seed"
    done
  done
}

# runs LIST SEEDS: one line of arguments of `spkver train` per training
runs() {
  each "$@" | sed 's/^[^ ]*/--out/'
}

# systems LIST SEEDS [FILE]: one line `NAME=DIRECTORY[/FILE]` per training
systems() {
  local name folder rest
  each "$1" "$2" | while read -r name folder rest; do
    echo "$name=$folder${3:+/$3}"
  done
}

# found LIST SEEDS: print a table of the results on the other half of the speakers
found() {
  local trained
  mapfile -t trained < <(systems "$1" "$2")
  spkver curves "${trained[@]}" --metric dev_eer --metric dev_min_dcf --metric boundary_share --markdown
}

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
  runs choice 1 | xargs -P "$jobs" -L 1 spkver train "$here/conf/base.yaml" --resume \
    data.train="$exp/feats/learn" data.dev="$exp/feats/choose"
  found choice 1
fi

if stage 3 "the settings of BD-LMCL, in the same way"; then
  runs boundary "1 2" | xargs -P "$jobs" -L 1 spkver train "$here/conf/base.yaml" --resume \
    data.train="$exp/feats/learn" data.dev="$exp/feats/choose"
  found boundary "1 2"
fi

if stage 4 "each loss of conf/final.txt on all training speakers"; then
  runs final "$seeds" | xargs -P "$jobs" -L 1 spkver train "$here/conf/base.yaml" --resume \
    data.train="$parent/exp/feats/train"
fi

if stage 5 "scores: the enrolment side whole, the test side whole and cut to 1, 2 and 3 s"; then
  need_trials
  for run in $(systems final "$seeds" | cut -d= -f2); do
    scores "$run"
  done
fi

if stage 6 "the tables, and a plot of the share of boundary samples"; then
  for list in $lists; do
    for side in whole 1 2 3; do
      printf '\n%s, test side %s\n\n' "$list" "$side"
      mapfile -t runs < <(systems final "$seeds" "${list}_$side.scores")
      spkver compare "${runs[@]}" --trials "$trials/$list.txt" --speakers "$parent/data/test/utt2spk" \
        --point vox-0.01 --markdown --out "$exp/results/${list}_$side.json"
    done
  done
  mapfile -t runs < <(systems final "$seeds" | grep '^BD')
  spkver curves "${runs[@]}" --metric boundary_share --metric margin_accuracy --out "$exp/results"
fi
