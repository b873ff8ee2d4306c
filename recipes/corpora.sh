# Options of the recipes of whole corpora:
#
#   --network NAME          resnet34, xvector, or another of `spkver models`
#   --loss NAME             bd_lmcl, aam, or another (spkver/losses)
#   --source packs|feats    what it trains on; feats: made once at three speeds, no noise, no rooms
#   --musan ROOT            noises to mix in; without, coloured noise and babble of the batch
#   --rirs ROOT             rooms (OpenSLR 28, 26); without, simulated ones
#   --steps N               of the first training
#   --margin-steps N        of the large-margin fine-tuning
#   --margin M              of the fine-tuning: 0.5 for AAM (radians), 0.35 for the others (cosines), if not given
#   --overrides "KEY=VALUE ..."   of both trainings, such as train.batch_size=128
#   --cohort N              utterances of each training speaker in the cohort of the adaptive S-norm
#   --top N                 speakers of the cohort whose scores count
#   --data DIR, --exp DIR   where everything goes
#   --gpus N                of this machine
#   --dry-run yes           a training says what memory, time and disk it will need, and stops
#   --stage N, --stop-stage M, --jobs N (processes of data stages)
#
# Paths are relative to the repository's root. A stage that is run again keeps what is complete.

# Sourced by those recipes in place of common.sh, after they have set their own variables and defaults. They make the
# data directories `cohort` and `dev` (held-out speakers, with the list $dev_trials) in $data, and call the stages below.

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

# needs OPTION...: folders that options must name; a line and exit code 2 if one is not there
needs() {
  local option
  for option; do
    [[ -n ${!option} ]] || die "--$option ROOT is needed; see --help"
    [[ -d ${!option} ]] || die "--$option: no folder ${!option}"
  done
}

# packs PART...: audio packs of data directories; PART is the name of both, or PACK=DIRECTORY
packs() {
  local part
  for part; do
    spkver pack "$data/${part#*=}" "$exp/packs/${part%%=*}" --jobs "$jobs"
  done
}

# features PART...: their filterbank features; of the training, where it trains on them, also at other speeds
features() {
  local part
  for part; do
    spkver features "$exp/packs/$part" "$exp/feats/$part" --jobs "$jobs"
  done
  [[ $source == packs ]] ||
    spkver features "$exp/packs/train" "$exp/feats/train" --speed 0.9 --speed 1.1 --jobs "$jobs"
}

# mixed_in: packs of the noises and rooms that were named
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

# fit CONFIG NAME [KEY=VALUE...]: a training, with the noises and rooms that were packed; its curves, what looks wrong
fit() {
  local config=$1 out=$exp/$2 noises=$exp/packs/musan room rooms= launch=(spkver)
  ((gpus == 1)) || launch=(torchrun --standalone --nproc-per-node "$gpus" -m spkver)
  shift 2
  if [[ $source == packs ]]; then
    [[ ! -d $noises ]] || set -- "$@" "augment.waveform.1.packs.noise=$noises/noise" \
      "augment.waveform.1.packs.music=$noises/music" "augment.waveform.1.packs.babble=$noises/speech"
    for room in "$exp"/packs/rirs/*; do
      [[ ! -d $room ]] || rooms+=${rooms:+,}$room
    done
    [[ -z $rooms ]] || set -- "$@" "augment.waveform.0.packs=[$rooms]"
  else
    set -- "$@" "augment.speeds=[1.0]" "augment.waveform=[]"
  fi
  # shellcheck disable=SC2086
  "${launch[@]}" train "recipes/conf/$config.yaml" --out "$out" --resume data.train="$exp/$source/train" \
    data.dev="$exp/feats/dev" data.dev_trials="$dev_trials" model="$network" loss.name="$loss" "$@" $overrides \
    ${dry_run:+--dry-run}
  [[ -n $dry_run ]] || spkver train-report "$out" --out "$out/report.html"
}

# first_stage: the network from its first step on
first_stage() {
  fit train "$name" train.steps="$steps"
}

# second_stage: the network of the first goes on with longer crops and a larger margin
second_stage() {
  local m=$margin
  [[ -d $exp/$name/model ]] || die "no network in $exp/$name: run the training first"
  if [[ -z $m ]]; then
    case $loss in *aam) m=0.5 ;; *) m=0.35 ;; esac
  fi
  fit large_margin "$name-lm" start.model="$exp/$name/model" loss.m="$m" train.steps="$margin_steps"
}

# systems: the trained ones, of one stage or of two
systems() {
  local system found=
  for system in "$name" "$name-lm"; do
    [[ ! -d $exp/$system/model ]] || found+=" $system"
  done
  [[ -n $found ]] || die "no network in $exp/$name: run the training first"
  echo "$found"
}

# embed PART...: embeddings of every system: of the cohort from its recordings, of the others from their features
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

# score LIST TRIALS PART [--enrolment MAP]: cosines of a list, and the same after adaptive S-norm
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

# calibrate LIST...: scored lists as log-likelihood ratios; the map is learnt from the development trials, the list `dev`
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

# results LIST TRIALS UTT2SPK...: the calibrated scores, the table with intervals over speakers, and a page of it all
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

# breakdown LIST TRIALS TABLE COLUMN...: where the errors of the last system are
breakdown() {
  local list=$1 trials=$2 table=$3 column all
  all=$(systems)
  for column in "${@:4}"; do
    printf '\n%s, %s, by %s\n\n' "$list" "${all##* }" "$column"
    spkver breakdown "$exp/${all##* }/$list.asnorm" "$table" --trials "$trials" --by "$column"
  done
}
