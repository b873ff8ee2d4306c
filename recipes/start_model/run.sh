#!/usr/bin/env bash
# Train the packaged model (spkver/start): a small network that learns from speakers' labels and from a large network.
#
#   bash recipes/start_model/run.sh --speech ROOT --speechocean ROOT --teacher MODEL --trials DIR    all stages
#
# Options:
#
#   --speech ROOT           corpora to train on, ROOT/CORPUS/SPEAKER/FILE, and ROOT/evaluation_only/CORPUS to test on
#   --speechocean ROOT      speechocean762, as published or as an opus tree
#   --corpora "NAME ..."    corpora of ROOT to train on, besides speechocean762
#   --words "NAME ..."      those of them with recordings of single words, which are joined
#   --left-out "NAME,NAME NAME ..."   groups of them: one more training without each group, for the threshold
#   --tested "NAME ..."     corpora of ROOT/evaluation_only
#   --teacher MODEL         directory of the large network: `spkver import campplus_cn_en_common.pt MODEL --from 3dspeaker`
#   --trials DIR            folder with the trial lists of the test: speechocean762*.txt, CORPUS*.txt
#   --network NAME          conf/NAME.yaml
#   --overrides "KEY=VALUE ..."   changes to the config of all trainings
#   --again "KEY=VALUE ..."       changes to the config when it is trained again, from the weights of the first time
#   --lengths "KEY=VALUE ..."     changes to the config of the third training, of the final network, with crops of three lengths
#   --speeds "KEY=VALUE ..."      changes to the config of the fourth, in which the teacher embeds each crop, at a random speed
#   --shorter "KEY=VALUE ..."     changes to the config of the trainings without a group
#   --nontargets N          non-target trials of each corpus for the threshold
#   --far RATE              false-accept rate of the threshold
#   --top N                 number of nearest cohort recordings that S-norm uses
#   --data DIR, --exp DIR   output folders; default: in this folder
#   --stage N, --stop-stage M   run stages N to M only
#   --jobs N                processes of data stages
#
# A stage that is run again skips what is complete.

here=recipes/start_model
speech=
speechocean=
corpora="google_speech_commands librispeech_cohort librispeech_4spk_2chapters samromur_demo dspspeech20 malayalam_msc \
  duke_alphanumeric"
words="google_speech_commands dspspeech20"
left_out="samromur_demo,malayalam_msc,duke_alphanumeric,dspspeech20"
tested="lithuanian_commands dail_eireann_parliament malayalam_msc_multisession"
teacher=
trials=
network=ecapa
overrides=
again="train.steps=9000 train.optimizer.lr=0.05"
lengths="train.steps=8000 train.optimizer.lr=0.05"
speeds="train.steps=4800 train.optimizer.lr=0.05"
shorter=train.steps=2000
nontargets=10000
far=0.01
top=100
data=$here/data
exp=$here/exp
source "$(dirname "$0")/../common.sh"
conf=$here/conf
packs=$exp/packs
read -ra overrides <<< "$overrides"
read -ra again <<< "$again"
read -ra lengths <<< "$lengths"
read -ra speeds <<< "$speeds"
read -ra shorter <<< "$shorter"
read -ra groups <<< "$left_out"
read -ra all <<< "speechocean762 $corpora"

if stage 0 "environment"; then
  install tensorboard
fi

if stage 1 "data directories"; then
  [[ -n $speech && -n $speechocean ]] || die "--speech and --speechocean are needed: the roots of the corpora"
  python -m data_prep.speechocean762 "$speechocean" "$data/so"
  spkver data join "$data/speechocean762" speechocean762="$data/so/train"
  # equal ids of two corpora are different speakers, but not in corpora whose names begin alike: both parts of LibriSpeech
  for corpus in $corpora; do
    python -m data_prep.folder "$speech/$corpus" "$data/plain/$corpus"
    spkver data join "$data/$corpus" "${corpus%%_*}=$data/plain/$corpus"
  done
  for corpus in $tested; do
    python -m data_prep.folder "$speech/evaluation_only/$corpus" "$data/$corpus"
  done
fi

if stage 2 "audio packs: at three speeds, words joined, and a copy through simulated channels"; then
  for corpus in "${all[@]}"; do
    joined=() few=1
    [[ " $words " != *" $corpus "* ]] || joined=(--combine 4) few=4
    trained=(--speed 0.9 --speed 1.1 "${joined[@]}" --jobs "$jobs")
    spkver pack "$data/$corpus" "$packs/clean/$corpus" "${trained[@]}"
    spkver pack "$data/$corpus" "$packs/channels/$corpus" "${trained[@]}" --simulate "$conf/channels.yaml"
    spkver data subset "$data/$corpus" "$data/cohort/$corpus" --per-speaker "$few"
  done
  for corpus in ${left_out//,/ } $tested; do
    spkver pack "$data/$corpus" "$packs/plain/$corpus" --jobs "$jobs"
  done
  spkver pack "$data/so/test" "$packs/plain/speechocean762" --jobs "$jobs"
fi

if stage 3 "the teacher's embeddings of the clean packs"; then
  [[ -n $teacher ]] || die "--teacher is needed: the model directory of the large network"
  for corpus in "${all[@]}"; do
    spkver extract "$packs/clean/$corpus" "$exp/teacher/$corpus.parquet" --model "$teacher" --precision bf16
  done
fi

# listed PREFIX SUFFIX CORPUS...: the files, separated by commas
listed() {
  local prefix=$1 suffix=$2 joined
  shift 2
  joined=$(printf ",$prefix%s$suffix" "$@")
  echo "${joined:1}"
}

# train NAME TIMES KEY=VALUE... -- CORPUS...: exp/NAME on those corpora, trained two or four times, each from the weights
# before, and the embeddings of its cohort
train() {
  local name=$1 times=$2 changed=() packed stored crops before=() own time out
  shift 2
  while [[ $1 != -- ]]; do
    changed+=("$1")
    shift
  done
  shift
  crops="data.crop_schedule=$(< "$conf/crops.yaml")"
  packed="data.train=[$(listed "$packs/clean/" "" "$@"),$(listed "$packs/channels/" "" "$@")]"
  stored="distil.embeddings=[$(listed "$exp/teacher/" .parquet "$@")]"
  for ((time = 1; time <= times; time++)); do
    case $time in
      1) own=("$stored") ;;
      2) own=("$stored" "${again[@]}") ;;
      3) own=("$stored" "$crops" "${lengths[@]}") ;;
      4) own=(distil.model="$teacher" distil.clean=true start.head=extend augment="$(< "$conf/speeds.yaml")" "$crops"
          "${speeds[@]}") ;;
    esac
    out=$exp/$name
    ((time == times)) || out=${out}_$time
    spkver train "$conf/$network.yaml" --out "$out" --resume "${before[@]}" "$packed" "${overrides[@]}" "${own[@]}" \
      "${changed[@]}"
    before=("start.model=$out/model")
  done
  spkver data join "$data/cohort_$name" "${@/#/$data/cohort/}"
  spkver pack "$data/cohort_$name" "$packs/cohort_$name" --combine 4 --jobs "$jobs"
  spkver extract "$packs/cohort_$name" "$exp/$name/cohort.parquet" --model "$exp/$name/model"
}

# measured NAME MODEL CORPUS LIST: error rates of cosines, and after S-norm, in exp/NAME
measured() {
  local out=$exp/$1/scores list
  list=$(basename "${4%.*}")
  spkver extract "$packs/plain/$3" "$out/$3.parquet" --model "$2"
  spkver score "$4" "$out/$3.parquet" "$out/$list.scores"
  spkver normalise "$out/$list.scores" "$out/$3.parquet" "$exp/$1/cohort.parquet" "$out/$list.snorm" --top "$top"
  echo "$1: $list"
  spkver evaluate "$out/$list.scores" --trials "$4"
  spkver evaluate "$out/$list.snorm" --trials "$4"
}

if stage 4 "networks that were trained without some corpora, on these"; then
  for group in "${groups[@]}"; do
    rest=()
    for corpus in "${all[@]}"; do
      [[ ",$group," = *",$corpus,"* ]] || rest+=("$corpus")
    done
    train "without_${group//,/_}" 2 "${shorter[@]}" -- "${rest[@]}"
    for corpus in ${group//,/ }; do
      spkver data trials "$data/$corpus" "$data/$corpus.trials" --targets 3000 --nontargets "$nontargets"
      measured "without_${group//,/_}" "$exp/without_${group//,/_}/model" "$corpus" "$data/$corpus.trials"
    done
  done
fi

if stage 5 "the final network, on all corpora; its weights in float16"; then
  train final 4 -- "${all[@]}"
  [[ -d $exp/start ]] || spkver export "$exp/final/model" "$exp/start" --to model --half
  spkver extract "$packs/cohort_final" "$exp/start_cohort.parquet" --model "$exp/start"
fi

if stage 6 "the final network on the test lists"; then
  [[ -n $trials ]] || die "--trials is needed: the folder with the trial lists"
  for list in "$trials"/*.txt; do
    name=$(basename "${list%.txt}")
    for corpus in speechocean762 $tested; do
      [[ $name = "$corpus"* ]] || continue
      sed "s#evaluation_only/$corpus/##g" "$list" > "$data/$name.list"
      measured final "$exp/final/model" "$corpus" "$data/$name.list"
      break
    done
  done
fi

if stage 7 "threshold and calibration, from the corpora that were left out"; then
  read -ra left <<< "${left_out//,/ }"
  spkver data join "$data/left_out" "${left[@]/#/$data/}"
  (cd "$data" && cat "${left[@]/%/.trials}" > left_out.trials)
  (for group in "${groups[@]}"; do
    for corpus in ${group//,/ }; do cat "$exp/without_${group//,/_}/scores/$corpus.snorm"; done
  done) > "$exp/left_out.snorm"
  spkver threshold "$exp/left_out.snorm" --trials "$data/left_out.trials" --far "$far" \
    --speakers "$data/left_out/utt2spk" --audio "$data/left_out" --model "$exp/start" \
    --cohort "$exp/start_cohort.parquet" --top "$top"
fi
