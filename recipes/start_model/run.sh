#!/usr/bin/env bash
# Train the packaged model (spkver/start). It should also work on speech unlike its training speech.
#
#   bash recipes/start_model/run.sh --speechocean ROOT --cohort ROOT --trials DIR --unheard "ROOT ..."     all stages
#   bash recipes/start_model/run.sh --trials DIR --stage 5 --stop-stage 5             test the final model again
#
# Options:
#
#   --speechocean ROOT      speechocean762, as published or as an opus tree
#   --cohort ROOT           ROOT/SPEAKER/FILE: one recording of each of 248 speakers of LibriSpeech's train-clean-100
#   --unheard "ROOT ..."    corpora for the threshold, ROOT/SPEAKER/FILE, that the model is not trained on
#   --trials DIR            folder with speechocean762_test.txt and speechocean762_test_hard.txt
#   --data DIR, --exp DIR   output folders; default: in this folder
#   --overrides "KEY=VALUE ..."   changes to the config of both trainings
#   --dev-speakers N        speakers of speechocean762 held out for development
#   --nontargets N          non-target trials of each development list; half as many of each corpus for the threshold
#   --far RATE              false-accept rate of the threshold
#   --top N                 number of nearest cohort recordings that S-norm uses
#   --stage N, --stop-stage M   run stages N to M only
#   --jobs N                processes of data stages
#
# A stage that is run again skips what is complete.

here=recipes/start_model
speechocean=
cohort=
trials=
unheard=
data=$here/data
exp=$here/exp
overrides=
dev_speakers=20
nontargets=20000
far=0.01
top=100
source "$(dirname "$0")/../common.sh"
conf=$here/conf
lists="speechocean762_test speechocean762_test_hard"
read -ra overrides <<< "$overrides"

if stage 0 "environment"; then
  install tensorboard
fi

if stage 1 "data directories; $dev_speakers speakers of one corpus and half of the other held out for development"; then
  [[ -n $speechocean && -n $cohort ]] || die "--speechocean and --cohort are needed: the roots of the corpora"
  python -m data_prep.speechocean762 "$speechocean" "$data/so" --dev-speakers "$dev_speakers" --seed 1
  python -m data_prep.folder "$cohort" "$data/libri/all"
  spkver data split "$data/libri/all" "$data/libri/core" "$data/libri/far" --share 0.5 --seed 1
  spkver data join "$data/train" so="$data/so/train" libri="$data/libri/all"
  spkver data join "$data/train_core" so="$data/so/train_core" libri="$data/libri/core"
  spkver data subset "$data/train" "$data/cohort" --per-speaker 2
  spkver data subset "$data/train_core" "$data/cohort_core" --per-speaker 2
  spkver data trials "$data/so/dev" "$data/dev.trials" --nontargets "$nontargets"
  spkver data cut "$data/libri/far" "$data/far" --seconds 3 --per-utterance 5
  spkver data trials "$data/far" "$data/far.trials" --nontargets "$nontargets"
fi

if stage 2 "audio packs: the recordings, and two copies of each through simulated channels"; then
  for split in train train_core; do
    spkver pack "$data/$split" "$exp/packs/$split" --jobs "$jobs"
    for seed in 1 2; do
      spkver pack "$data/$split" "$exp/packs/${split}_$seed" --simulate "$conf/channels.yaml" --seed "$seed" --jobs "$jobs"
    done
  done
  spkver pack "$data/so/dev" "$exp/packs/dev" --jobs "$jobs"
  spkver pack "$data/so/test" "$exp/packs/test" --jobs "$jobs"
  spkver pack "$data/so/test" "$exp/packs/test_mild" --simulate "$conf/mild.yaml" --seed 7 --jobs "$jobs"
  spkver pack "$data/far" "$exp/packs/far_clean" --jobs "$jobs"
  for way in mild hard; do
    spkver pack "$data/far" "$exp/packs/far_$way" --simulate "$conf/$way.yaml" --seed 7 --jobs "$jobs"
  done
fi

# train_both NAME SPLIT: train exp/NAME-clean, then exp/NAME from it
train_both() {
  local packs=$exp/packs/$2
  spkver train "$conf/clean.yaml" --out "$exp/$1-clean" --resume data.train="$packs" "${overrides[@]}"
  spkver train "$conf/robust.yaml" --out "$exp/$1" --resume start.model="$exp/$1-clean/model" \
    data.train="[$packs, ${packs}_1, ${packs}_2]" "${overrides[@]}"
}

# measured OUT NAME LIST EMBEDDINGS [--test EMBEDDINGS]: error rates of cosine scores, and after S-norm
measured() {
  local scores=$1/$2.scores normalised=$1/$2.snorm list=$3 of=$4 cohort=$1/cohort.parquet
  echo "$2"
  shift 4
  spkver score "$list" "$of" "$scores" "$@"
  spkver normalise "$scores" "$of" "$cohort" "$normalised" --top "$top" "$@"
  spkver evaluate "$scores" --trials "$list"
  spkver evaluate "$normalised" --trials "$list"
}

if stage 3 "development: training without the held-out speakers, error rates on them"; then
  train_both dev train_core
  for name in dev-clean dev; do
    out=$exp/$name
    spkver extract "$data/cohort_core" "$out/cohort.parquet" --model "$out/model"
    for set in dev far_clean far_mild far_hard; do
      spkver extract "$exp/packs/$set" "$out/$set.parquet" --model "$out/model"
      measured "$out" "$set" "$data/${set%%_*}.trials" "$out/$set.parquet"
    done
  done
fi

if stage 4 "the final model: all speakers, the same number of steps; its weights in float16"; then
  train_both final train
  [[ -d $exp/start ]] || spkver export "$exp/final/model" "$exp/start" --to model --half
fi

if stage 5 "the final model on the test lists: whole, cut to 2 s, one side through another channel"; then
  [[ -n $trials ]] || die "--trials is needed: the folder with $lists"
  out=$exp/scores
  spkver extract "$data/cohort" "$out/cohort.parquet" --model "$exp/start"
  spkver extract "$exp/packs/test" "$out/whole.parquet" --model "$exp/start"
  spkver extract "$exp/packs/test" "$out/2s.parquet" --model "$exp/start" --seconds 2
  spkver extract "$exp/packs/test_mild" "$out/mild.parquet" --model "$exp/start"
  for list in $lists; do
    measured "$out" "${list}_whole" "$trials/$list.txt" "$out/whole.parquet"
    measured "$out" "${list}_2s" "$trials/$list.txt" "$out/2s.parquet"
    measured "$out" "${list}_mild" "$trials/$list.txt" "$out/whole.parquet" --test "$out/mild.parquet"
  done
fi

if stage 6 "threshold and calibration, on corpora unlike the training speech"; then
  [[ -n $unheard ]] || die "--unheard is needed: folders of corpora that the model was not trained on"
  data=$data/unheard out=$exp/scores parts=()
  for corpus in $unheard; do
    name=$(basename "$corpus")
    python -m data_prep.folder "$corpus" "$data/$name"
    spkver data trials "$data/$name" "$data/$name.trials" --targets 3000 --nontargets $((nontargets / 2))
    parts+=("$name")
  done
  spkver data join "$data/all" "${parts[@]/#/$data/}"
  (cd "$data" && cat "${parts[@]/%/.trials}" > all.trials)
  spkver extract "$data/all" "$out/unheard.parquet" --model "$exp/start"
  spkver score "$data/all.trials" "$out/unheard.parquet" "$out/unheard.scores"
  spkver normalise "$out/unheard.scores" "$out/unheard.parquet" "$out/cohort.parquet" "$out/unheard.snorm" --top "$top"
  spkver threshold "$out/unheard.snorm" --trials "$data/all.trials" --far "$far" --speakers "$data/all/utt2spk" \
    --audio "$data/all" --model "$exp/start" --cohort "$out/cohort.parquet" --top "$top"
fi
