# Options of the voxceleb, cnceleb and librispeech recipes:
#
#   --network NAME          resnet34, xvector, or another of `spkver models`
#   --loss NAME             bd_lmcl, aam, or another (spkver/losses)
#   --source packs|feats    train on audio packs, or on feature packs (three speeds, without noise and rooms)
#   --musan ROOT            noises to mix in; default: coloured noise, and babble from the batch
#   --rirs ROOT             room responses (OpenSLR 28, 26); default: simulated rooms
#   --steps N               training steps
#   --margin-steps N        steps of the large-margin fine-tuning
#   --margin M              margin of the fine-tuning; default: 0.5 for AAM (radians), 0.35 for other losses (cosine)
#   --overrides "KEY=VALUE ..."   changes to the config of both trainings, such as train.batch_size=128
#   --cohort N              utterances per training speaker in the cohort of the adaptive S-norm
#   --top N                 number of nearest cohort speakers that S-norm uses
#   --data DIR, --exp DIR   output folders
#   --gpus N                GPUs of this machine to train on
#   --dry-run yes           estimate memory, time and disk of a training, then stop
#   --stage N, --stop-stage M   run stages N to M only
#   --jobs N                processes of data stages
#
# Paths are relative to the root of the repository. A stage that is run again skips what is complete.

# Those recipes source this file instead of common.sh, after they set their own variables and defaults. They make the
# data directories `cohort` and `dev` (held-out speakers, trials in $dev_trials) in $data, and call the functions below.

network=resnet34
loss=bd_lmcl
source=packs
musan=
rirs=
margin=
overrides=
cohort=20
top=300
gpus=1
dry_run=
more_help=${BASH_SOURCE[0]}
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
name=$network-$loss
dev_trials=$data/dev.trials

# needs OPTION...: each option must name an existing folder; otherwise one line of error and exit code 2
needs() {
  local option
  for option; do
    [[ -n ${!option} ]] || die "--$option ROOT is needed; see --help"
    [[ -d ${!option} ]] || die "--$option: no folder ${!option}"
  done
}

# packs PART...: make audio packs of data directories; PART is the name of both, or PACK=DIRECTORY
packs() {
  local part
  for part; do
    spkver pack "$data/${part#*=}" "$exp/packs/${part%%=*}" --jobs "$jobs"
  done
}

# features PART...: make feature packs of audio packs; with --source feats also of train, at three speeds
features() {
  local part
  for part; do
    spkver features "$exp/packs/$part" "$exp/feats/$part" --jobs "$jobs"
  done
  [[ $source == packs ]] ||
    spkver features "$exp/packs/train" "$exp/feats/train" --speed 0.9 --speed 1.1 --jobs "$jobs"
}

# mixed_in: make packs of the noises and rooms given by --musan and --rirs
mixed_in() {
  local kind
  if [[ -n $musan ]]; then
    needs musan
    python -m data_prep.musan "$musan" "$data/musan"
    packs musan/music musan/noise musan/speech
  fi
  if [[ -n $rirs ]]; then
    needs rirs
    python -m data_prep.rirs "$rirs" "$data/rirs"
    for kind in real simulated simulated_16k; do
      [[ ! -d $data/rirs/$kind ]] ||
        spkver pack "$data/rirs/$kind" "$exp/packs/rirs/$kind" --channel 0 --min-seconds 0 --jobs "$jobs"
    done
  fi
}

# fit CONFIG NAME [KEY=VALUE...]: train with the packed noises and rooms, then write the report of the training
fit() {
  local config=$1 out=$exp/$2 noises=$exp/packs/musan room rooms= launch=(spkver)
  ((gpus == 1)) || launch=(torchrun --standalone --nproc-per-node "$gpus" -m spkver)
  shift 2
  if [[ $source == packs ]]; then
    [[ ! -d $noises ]] || set -- "$@" "augment.waveform.noise.packs.noise=$noises/noise" \
      "augment.waveform.noise.packs.music=$noises/music" "augment.waveform.noise.packs.babble=$noises/speech"
    for room in "$exp"/packs/rirs/*; do
      [[ ! -d $room ]] || rooms+=${rooms:+,}$room
    done
    [[ -z $rooms ]] || set -- "$@" "augment.waveform.reverb.packs=[$rooms]"
  else
    set -- "$@" "augment.speeds=[1.0]" "augment.waveform=[]"
  fi
  # shellcheck disable=SC2086
  "${launch[@]}" train "recipes/conf/$config.yaml" --out "$out" --resume data.train="$exp/$source/train" \
    data.dev="$exp/feats/dev" data.dev_trials="$dev_trials" model="$network" loss.name="$loss" "$@" $overrides \
    ${dry_run:+--dry-run}
  [[ -n $dry_run ]] || spkver train-report "$out" --out "$out/report.html"
}

# first_stage: train the network from random weights
first_stage() {
  fit train "$name" train.steps="$steps"
}

# second_stage: fine-tune the network of the first stage with longer crops and a larger margin
second_stage() {
  local m=$margin
  [[ -d $exp/$name/model ]] || die "no trained network in $exp/$name: run stage 4 first"
  if [[ -z $m ]]; then
    case $loss in *aam) m=0.5 ;; *) m=0.35 ;; esac
  fi
  fit large_margin "$name-lm" start.model="$exp/$name/model" loss.m="$m" train.steps="$margin_steps"
}

# systems: names of the trained networks, after one stage or two
systems() {
  local system found=
  for system in "$name" "$name-lm"; do
    [[ ! -d $exp/$system/model ]] || found+=" $system"
  done
  [[ -n $found ]] || die "no trained network in $exp/$name: run stage 4 first"
  echo "$found"
}

# embed PART...: extract embeddings with every system, of the cohort from recordings, of each PART from its features
embed() {
  local system part all
  all=$(systems)
  for system in $all; do
    spkver extract "$data/cohort" "$exp/$system/cohort.parquet" --model "$exp/$system/model" --jobs "$jobs"
    for part; do
      spkver extract "$exp/feats/$part" "$exp/$system/$part.parquet" --model "$exp/$system/model"
    done
  done
}

# score LIST TRIALS PART [--enrolment MAP]: score a list by cosine, and apply adaptive S-norm
score() {
  local list=$1 trials=$2 system dir all
  all=$(systems)
  for system in $all; do
    dir=$exp/$system
    local embeddings=$dir/$3.parquet options=(--mean "$dir/cohort.parquet" "${@:4}")
    spkver score "$trials" "$embeddings" "$dir/$list.cosine" "${options[@]}"
    spkver normalise "$dir/$list.cosine" "$embeddings" "$dir/cohort.parquet" "$dir/$list.asnorm" \
      --top "$top" --by-speaker "${options[@]}"
  done
}

# calibrate LIST...: turn scores into log-likelihood ratios; the calibration is trained on the development trials
calibrate() {
  local list system dir all
  all=$(systems)
  for system in $all; do
    dir=$exp/$system
    for list; do
      spkver calibrate "$dir/$list.asnorm" "$dir/$list.llr" --train "$dir/dev.asnorm" --train-trials "$dev_trials"
    done
  done
}

# results LIST TRIALS UTT2SPK...: evaluate calibrated scores, print a table with intervals over speakers, write a page
results() {
  local list=$1 trials=$2 system kind utt2spk all scores=() speakers=() trained=()
  all=$(systems)
  for system in $all; do
    printf '\n%s, %s, calibrated on the development speakers\n\n' "$list" "$system"
    spkver evaluate "$exp/$system/$list.llr" --trials "$trials" --llr
    trained+=(--training "$system=$exp/$system")
    for kind in cosine asnorm; do
      scores+=("$system, $kind=$exp/$system/$list.$kind")
    done
  done
  for utt2spk in "${@:3}"; do
    speakers+=(--speakers "$utt2spk")
  done
  printf '\n%s\n\n' "$list"
  spkver compare "${scores[@]}" --trials "$trials" "${speakers[@]}" --out "$exp/report/$name/$list.json"
  spkver report "${scores[@]}" --trials "$trials" "${trained[@]}" --title "$list" --out "$exp/report/$name/$list.html" \
    > /dev/null
}

# breakdown LIST TRIALS TABLE COLUMN...: print the errors of the last system, grouped by each column
breakdown() {
  local list=$1 trials=$2 table=$3 column all
  all=$(systems)
  for column in "${@:4}"; do
    printf '\n%s, %s, by %s\n\n' "$list" "${all##* }" "$column"
    spkver breakdown "$exp/${all##* }/$list.asnorm" "$table" --trials "$trials" --by "$column"
  done
}
