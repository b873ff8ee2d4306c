#!/usr/bin/env bash
# Diarization: simulate conversations of speakers that the packaged model was not trained on, diarize and score them.
#
#   bash recipes/diarization/run.sh --speech ROOT --speechocean ROOT                             all stages
#   bash recipes/diarization/run.sh --stage 4 --stop-stage 4 --diarize "--speakers 4"            another setting
#
# Options:
#
#   --speech ROOT           the corpora of recipes/start_model; of ROOT/evaluation_only, those of --tested are used
#   --speechocean ROOT      speechocean762, as published or as an opus tree; its test speakers are used
#   --tested "NAME ..."     corpora of ROOT/evaluation_only in the test conversations
#   --diarize "OPTION ..."  options of spkver diarize
#   --seed N                seed of the conversations to choose settings on; N + 1 is that of the others
#   --data DIR, --exp DIR   output folders; default: in this folder
#   --stage N, --stop-stage M   run stages N to M only
#   --jobs N                processes of data stages
#
# A stage that is run again skips what is complete. Choose settings in stage 4, then run stage 5 once.

here=recipes/diarization
speech=
speechocean=
tested=dail_eireann_parliament
diarize=
seed=1
data=$here/data
exp=$here/exp
source "$(dirname "$0")/../common.sh"
read -ra diarize <<< "$diarize"
lengths="60 600"

# conversations SPLIT SEED DATA...: data/SPLIT
conversations() {
  local split=$1 options=(--count 2 --seed "$2" --jobs "$jobs")
  shift 2
  for length in $lengths; do options+=(--seconds "$length"); done
  for overlap in 0 0.1 0.2; do options+=(--overlap "$overlap"); done
  for speakers in 2 3 4 6 8; do options+=(--speakers "$speakers"); done
  [[ -f $data/$split/wav.scp ]] || python -m data_prep.conversations "$data/$split" "$@" "${options[@]}"
}

# scored SPLIT: turns of its conversations in exp/SPLIT.rttm, and error rates by duration and share of overlap
scored() {
  local split=$1 length overlap
  [[ -f $exp/$split.rttm ]] || spkver diarize "$data/$split" --out "$exp/$split.rttm" "${diarize[@]}"
  for length in $lengths; do
    for overlap in ov00 ov10 ov20; do
      printf '\n%s, at most %d s, %d %% overlap\n\n' "$split" "$length" "$((10#${overlap#ov}))"
      spkver der "$data/$split/ref.rttm" "$exp/$split.rttm" --uem "$data/$split/${length}s-$overlap.uem" \
        --out "$exp/$split-${length}s-$overlap.json"
    done
  done
  spkver report --diarization "$data/$split/ref.rttm" "$exp/$split.rttm" --uem "$data/$split/all.uem" \
    --audio "$data/$split" --out "$exp/$split.html"
}

if stage 0 "environment"; then
  install vad
fi

if stage 1 "data directories: the test speakers of speechocean762 in two halves, and the corpora of --tested"; then
  [[ -n $speech && -n $speechocean ]] || die "--speech and --speechocean are needed: the roots of the corpora"
  python -m data_prep.speechocean762 "$speechocean" "$data/speechocean762"
  spkver data split "$data/speechocean762/test" "$data/tune_speakers" "$data/test_speakers" --speakers 63 --seed "$seed"
  for corpus in $tested; do
    python -m data_prep.folder "$speech/evaluation_only/$corpus" "$data/$corpus"
  done
fi

if stage 2 "conversations to choose settings on"; then
  conversations tune "$seed" "$data/tune_speakers"
fi

if stage 3 "conversations to test on"; then
  read -ra others <<< "$tested"
  conversations test "$((seed + 1))" "$data/test_speakers" "${others[@]/#/$data/}"
fi

if stage 4 "who speaks when in the conversations to choose settings on"; then
  scored tune
fi

if stage 5 "who speaks when in the conversations to test on"; then
  scored test
fi
