#!/usr/bin/env bash
# VoxCeleb: train on the dev part of VoxCeleb2, score the cleaned lists O, E and H of VoxCeleb1. For one GPU.
#
#   bash recipes/voxceleb/run.sh --voxceleb1 ROOT --voxceleb2 ROOT --musan ROOT --rirs ROOT    all stages
#   bash recipes/voxceleb/run.sh --stage 4 --stop-stage 4 --network xvector --loss aam         one training
#
# Options of this recipe:
#
#   --voxceleb1 ROOT, --voxceleb2 ROOT   folders of the unpacked archives; the first also contains the trial lists
#   --lists "O E H"         lists to score
#   --dev-utterances N      utterances per development speaker
#   --dev-nontargets N      non-target trials of the development list
#

voxceleb1=
voxceleb2=
lists="O E H"
steps=640000
margin_steps=43000
dev_utterances=20
dev_nontargets=50000
data=recipes/voxceleb/data
exp=recipes/voxceleb/exp
source "$(dirname "$0")/../corpora.sh"

if stage 0 "environment"; then
  install tensorboard,m4a
fi

if stage 1 "data directories, trial lists, and a check of the lists"; then
  needs voxceleb1 voxceleb2
  python -m data_prep.voxceleb1 "$voxceleb1" "$data/voxceleb1"
  python -m data_prep.voxceleb2 "$voxceleb2" "$data/voxceleb2"
  spkver data subset "$data/voxceleb2/dev" "$data/cohort" --per-speaker "$cohort"
  spkver data subset "$data/voxceleb2/test" "$data/dev" --per-speaker "$dev_utterances"
  spkver data trials "$data/dev" "$dev_trials" --nontargets "$dev_nontargets" --cross-session
  for list in $lists; do
    spkver check-trials "$data/voxceleb1/trials/$list.txt" --speakers "$data/voxceleb1/all/utt2spk" \
      --train-speakers "$data/voxceleb2/dev/utt2spk"
  done
fi

if stage 2 "audio packs of recordings, noises and rooms"; then
  packs train=voxceleb2/dev dev eval=voxceleb1/all
  mixed_in
fi

if stage 3 "filterbank features of the development and test recordings"; then
  features dev eval
fi

if stage 4 "training"; then
  first_stage
fi

if stage 5 "large-margin fine-tuning: longer crops, a larger margin, no speeds"; then
  second_stage
fi

if stage 6 "embeddings"; then
  embed dev eval
fi

if stage 7 "scores: cosine, and adaptive S-norm with the training speakers as cohort"; then
  score dev "$dev_trials" dev
  for list in $lists; do
    score "$list" "$data/voxceleb1/trials/$list.txt" eval
  done
fi

if stage 8 "log-likelihood ratios, calibrated on the development speakers"; then
  calibrate $lists
fi

if stage 9 "results"; then
  for list in $lists; do
    results "$list" "$data/voxceleb1/trials/$list.txt" "$data/voxceleb1/all/utt2spk"
    breakdown "$list" "$data/voxceleb1/trials/$list.txt" "$data/voxceleb1/all" speaker seconds
  done
fi
