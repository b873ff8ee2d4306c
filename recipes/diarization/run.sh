#!/usr/bin/env bash
# Who speaks when: make conversations of speakers that the packaged model has not heard, find their turns, score them.
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
#   --seed N                seed of the conversations
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
kinds="short long"

# conversations SPLIT DATA...: data/SPLIT/short and data/SPLIT/long
conversations() {
  local split=$1 options
  shift
  for kind in $kinds; do
    [[ ! -f $data/$split/$kind/wav.scp ]] || continue
    options=(--overlap 0 --overlap 0.1 --overlap 0.2 --seed "$seed" --jobs "$jobs")
    if [[ $kind = short ]]; then
      options+=(--seconds 60 --count 4 --speakers 2 --speakers 3 --speakers 4)
    else
      options+=(--seconds 600)
      for speakers in 2 3 4 5 6 7 8; do options+=(--speakers "$speakers"); done
    fi
    python -m data_prep.conversations "$data/$split/$kind" "$@" "${options[@]}"
  done
}

# scored SPLIT: turns of its conversations in exp/SPLIT, and error rates by duration and share of overlap
scored() {
  local split=$1 kind overlap
  for kind in $kinds; do
    [[ -f $exp/$split/$kind.rttm ]] ||
      spkver diarize "$data/$split/$kind" --out "$exp/$split/$kind.rttm" "${diarize[@]}"
    for overlap in ov00 ov10 ov20 all; do
      printf '\n%s, %s, %s\n\n' "$split" "$kind" "$overlap"
      spkver der "$data/$split/$kind/ref.rttm" "$exp/$split/$kind.rttm" --uem "$data/$split/$kind/$overlap.uem"
    done
    spkver report --diarization "$data/$split/$kind/ref.rttm" "$exp/$split/$kind.rttm" \
      --audio "$data/$split/$kind" --uem "$data/$split/$kind/all.uem" --out "$exp/$split/$kind.html"
  done
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
  conversations tune "$data/tune_speakers"
fi

if stage 3 "conversations to test on"; then
  read -ra others <<< "$tested"
  conversations test "$data/test_speakers" "${others[@]/#/$data/}"
fi

if stage 4 "who speaks when in the conversations to choose settings on"; then
  scored tune
fi

if stage 5 "who speaks when in the conversations to test on"; then
  scored test
fi
