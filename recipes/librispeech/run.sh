#!/usr/bin/env bash
# LibriSpeech: train on its train parts, score trials across chapters of its test parts. For one GPU; for a first try
# on a CPU, use --network xvector --steps 2000.
#
#   bash recipes/librispeech/run.sh --librispeech ROOT                                         all stages
#   bash recipes/librispeech/run.sh --stage 4 --stop-stage 4 --network xvector --loss aam      one training
#
# Options of this recipe:
#
#   --librispeech ROOT      the folder LibriSpeech, or the folder that contains it
#   --train-parts "PART ...", --dev-part PART, --test-parts "PART ..."   parts of the corpus to use
#   --nontargets N          non-target trials of each list
#

librispeech=
train_parts="train-clean-100 train-clean-360 train-other-500"
dev_part=dev-clean
test_parts="test-clean test-other"
steps=110000
margin_steps=11000
nontargets=
data=recipes/librispeech/data
exp=recipes/librispeech/exp
source "$(dirname "$0")/../corpora.sh"
corpus=$data/librispeech
dev_trials=$corpus/$dev_part/trials.txt

if stage 0 "environment"; then
  install tensorboard
fi

if stage 1 "data directories, and trials across chapters"; then
  needs librispeech
  python -m data_prep.librispeech "$librispeech" "$corpus" ${nontargets:+--nontargets "$nontargets"}
  train=()
  for part in $train_parts; do
    train+=("$corpus/$part")
  done
  spkver data join "$data/train" "${train[@]}"
  spkver data subset "$data/train" "$data/cohort" --per-speaker "$cohort"
fi

if stage 2 "audio packs of recordings, noises and rooms"; then
  packs train "dev=librispeech/$dev_part"
  for part in $test_parts; do
    packs "$part=librispeech/$part"
  done
  mixed_in
fi

if stage 3 "filterbank features of the development and test recordings"; then
  features dev $test_parts
fi

if stage 4 "training"; then
  first_stage
fi

if stage 5 "large-margin fine-tuning: longer crops, a larger margin, no speeds"; then
  second_stage
fi

if stage 6 "embeddings"; then
  embed dev $test_parts
fi

if stage 7 "scores: cosine, and adaptive S-norm with the training speakers as cohort"; then
  score dev "$dev_trials" dev
  for part in $test_parts; do
    score "$part" "$corpus/$part/trials.txt" "$part"
  done
fi

if stage 8 "log-likelihood ratios, calibrated on the development speakers"; then
  calibrate $test_parts
fi

if stage 9 "results, and errors by gender"; then
  for part in $test_parts; do
    results "$part" "$corpus/$part/trials.txt" "$corpus/$part/utt2spk"
    breakdown "$part" "$corpus/$part/trials.txt" "$corpus/$part" gender
  done
fi
