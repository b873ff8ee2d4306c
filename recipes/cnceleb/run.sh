#!/usr/bin/env bash
# CN-Celeb: train on CN-Celeb 1 and 2, score the evaluation trials of CN-Celeb 1, report by genre. For one GPU.
#
#   bash recipes/cnceleb/run.sh --cnceleb ROOT --musan ROOT --rirs ROOT                        all stages
#   bash recipes/cnceleb/run.sh --stage 4 --stop-stage 4 --network xvector --loss aam          one training
#
# Options of this recipe:
#
#   --cnceleb ROOT          folder with CN-Celeb_flac and CN-Celeb2_flac
#   --enrolment lst|map     one enrolment recording per speaker, or all the recordings that it was made from
#   --dev-speakers N        speakers of CN-Celeb 1 held out for development
#   --dev-nontargets N      non-target trials of the development list
#

cnceleb=
enrolment=lst
dev_speakers=40
steps=370000
margin_steps=25000
dev_nontargets=50000
data=recipes/cnceleb/data
exp=recipes/cnceleb/exp
source "$(dirname "$0")/../corpora.sh"
corpus=$data/cnceleb
trials=$corpus/trials/trials.lst

if stage 0 "environment"; then
  install tensorboard
fi

if stage 1 "data directories, and a check of the trials"; then
  needs cnceleb
  python -m data_prep.cnceleb "$cnceleb" "$corpus"
  spkver data split "$corpus/dev" "$data/core" "$data/held_out" --speakers "$dev_speakers" --seed 1
  spkver data join "$data/train" "$data/core" "$corpus/cn2"
  spkver data subset "$data/train" "$data/cohort" --per-speaker "$cohort"
  spkver data subset "$data/held_out" "$data/dev" --per-speaker 20
  spkver data trials "$data/dev" "$dev_trials" --nontargets "$dev_nontargets" --cross-session
  # the id of an enrolment model begins with its speaker
  sed -E 's/^(id[0-9]+)(\S*) .*/\1\2 \1/' "$corpus/trials/enroll.lst" > "$data/model2spk"
  spkver check-trials "$trials" --speakers "$corpus/eval/utt2spk" --speakers "$data/model2spk" \
    --train-speakers "$data/train/utt2spk"
fi

if stage 2 "audio packs of recordings, noises and rooms"; then
  packs train dev eval=cnceleb/eval
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
  score eval "$trials" eval --enrolment "$corpus/trials/enroll.$enrolment"
fi

if stage 8 "log-likelihood ratios, calibrated on the development speakers"; then
  calibrate eval
fi

if stage 9 "results, and errors by the genre of the test side"; then
  results eval "$trials" "$corpus/eval/utt2spk" "$data/model2spk"
  breakdown eval "$trials" "$corpus/eval" genre
fi
