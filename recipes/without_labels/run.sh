#!/usr/bin/env bash
# Train without labels: SimCLR or DINO on crops of recordings, then clustering of the embeddings and a training on the
# clusters as speakers, twice. For comparison, the same network trained on the true labels of all speakers, and of a
# tenth of them, from scratch and starting from the network without labels.
#
#   bash recipes/without_labels/run.sh --train data/train --test data/test --trials data/test.txt --speakers 500
#
# Options: --train DIR and --test DIR (data directories; stages 1 to 3 do not use the labels of --train), --trials LIST,
# --speakers N (number of clusters: a guess at the number of speakers), --labelled N (speakers of --train whose labels
# are used in stage 4, default a tenth of --speakers), --method simclr or dino (another --exp for each), --rounds N
# (default 2), --data and --exp (folders for output), --overrides "KEY=VALUE ..." (of every training), --stage N,
# --stop-stage M, --jobs N.
# A stage that is stopped continues when it is run again, and skips what is complete.

train=
test=
trials=
speakers=
labelled=
method=simclr
rounds=2
here=recipes/without_labels
data=$here/data
exp=$here/exp
overrides=
source "$(dirname "$0")/../common.sh"
read -ra changes <<< "$overrides"

# learn CONF NAME OVERRIDES...: train one system
learn() {
  local conf=$1 name=$2
  shift 2
  spkver train "$here/conf/$conf.yaml" --out "$exp/$name" --resume "data.train=$exp/packs/train" "$@" \
    ${changes[@]+"${changes[@]}"}
}

# embed NAME: embeddings of the training recordings
embed() {
  spkver extract "$exp/packs/train" "$exp/$1/train.parquet" --model "$exp/$1/model" --jobs "$jobs"
}

if stage 0 "environment"; then
  install tensorboard,faiss
fi

if stage 1 "audio packs"; then
  [[ -n $train && -n $test ]] || die "--train and --test are needed; see --help"
  spkver pack "$train" "$exp/packs/train" --jobs "$jobs"
  spkver pack "$test" "$exp/packs/test" --jobs "$jobs"
fi

if stage 2 "crops of recordings: $method"; then
  learn "$method" "$method"
fi

if stage 3 "groups of like voices, and a training on them"; then
  [[ -n $speakers ]] || die "--speakers is needed; see --help"
  before=$method
  for ((round = 1; round <= rounds; round++)); do
    embed "$before"
    spkver cluster "$exp/$before/train.parquet" "$exp/groups$round" --speakers "$speakers"
    learn labels "groups$round.run" "data.speakers=$exp/groups$round"
    before=groups$round.run
  done
fi

if stage 4 "the same network with the true labels of all speakers, and of some"; then
  [[ -n $train && -n $speakers ]] || die "--train and --speakers are needed; see --help"
  learn labels labels
  [[ -f $data/some/wav.scp ]] || spkver data subset "$train" "$data/some" --speakers "${labelled:-$((speakers / 10))}"
  spkver pack "$data/some" "$exp/packs/some" --jobs "$jobs"
  learn labels some "data.train=$exp/packs/some"
  # a small learning rate, which keeps what the groups taught
  learn labels some.tuned "data.train=$exp/packs/some" train.optimizer.lr=0.01 \
    "start={model: $exp/groups$rounds.run/model, head: replace}"
fi

if stage 5 "error rates"; then
  [[ -n $trials ]] || die "--trials is needed; see --help"
  for run in "$exp/$method" "$exp"/groups*.run "$exp"/some "$exp"/some.tuned "$exp"/labels; do
    echo "$(basename "$run" .run):"
    spkver extract "$exp/packs/test" "$run/test.parquet" --model "$run/model" --jobs "$jobs"
    spkver score "$trials" "$run/test.parquet" "$run/test.scores"
    spkver evaluate "$run/test.scores" --trials "$trials"
  done
fi
