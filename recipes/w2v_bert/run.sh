#!/usr/bin/env bash
# w2v-BERT 2.0, a large self-supervised encoder, trained in three stages and then pruned (Li, Cheng and Li, 2025). For
# one large GPU.
#
#   bash recipes/w2v_bert/run.sh --train PACK --test PACK --trials LIST
#
# Options of this recipe:
#
#   --train PACK            audio pack of the training recordings, such as recipes/voxceleb/exp/packs/train
#   --test PACK             audio pack of the test recordings, such as recipes/voxceleb/exp/packs/eval
#   --trials LIST           trial list of the test recordings
#   --encoder SOURCE        folder or hub id of the encoder
#   --steps "A B C D"       steps of the four trainings; the first three by default as in the paper for VoxCeleb2
#   --overrides "KEY=VALUE ..."   changes to the config of all trainings, such as train.batch_size=16
#   --exp DIR               output folder
#   --stage N, --stop-stage M   run stages N to M only
#   --jobs N                processes of data stages
#
# Paths are relative to the root of the repository. A stage that is run again skips what is complete.

train=
test=
trials=
encoder=facebook/w2v-bert-2.0
steps="768000 205000 68000 200000"
here=recipes/w2v_bert
data=$here/data
exp=$here/exp
overrides=
source "$(dirname "$0")/../common.sh"
read -ra changes <<< "$overrides"
read -r frozen joint margin prune <<< "$steps"

# learn NAME STEPS OVERRIDES...: train one stage
learn() {
  local name=$1 number=$2
  shift 2
  [[ -n $train ]] || die "--train is needed; see --help"
  spkver train "$here/conf/$name.yaml" --out "$exp/$name" --resume "data.train=$train" "model.source=$encoder" \
    "train.steps=$number" "$@" ${changes[@]+"${changes[@]}"}
}

if stage 0 "environment"; then
  install tensorboard,ssl
fi

if stage 1 "the encoder is frozen: low-rank changes of it, layer adapters, pooling"; then
  learn frozen "$frozen"
fi

if stage 2 "the changes are merged, and everything is trained"; then
  learn joint "$joint" "start.model=$exp/frozen/model"
fi

if stage 3 "large margin, longer crops"; then
  learn margin "$margin" "start.model=$exp/joint/model"
fi

if stage 4 "a smaller encoder: heads and feed-forward values are removed, with stage 3 as teacher"; then
  learn prune "$prune" "start.model=$exp/margin/model" "distil.model=$exp/margin/model"
fi

if stage 5 "error rates"; then
  [[ -n $test && -n $trials ]] || die "--test and --trials are needed; see --help"
  for name in frozen joint margin prune; do
    echo "$name:"
    spkver extract "$test" "$exp/$name/test.parquet" --model "$exp/$name/model" --jobs "$jobs"
    spkver score "$trials" "$exp/$name/test.parquet" "$exp/$name/test.scores"
    spkver evaluate "$exp/$name/test.scores" --trials "$trials"
  done
fi
