#!/usr/bin/env bash
# Where a margin on boundary samples only (BD-LMCL, BD-AAM) pays: one-second words of 1,544 speakers, every loss with its
# own scale and margin, wrong labels, balanced and long-tailed speakers, and what the selector selects.
#
#   bash recipes/boundary/run.sh --corpus ROOT --speechocean ROOT             all stages
#   bash recipes/boundary/run.sh --stage 4 --stop-stage 4 --jobs 1            one stage, for example the choice of settings
#
# Options: --corpus ROOT (recordings as ROOT/SPEAKER/FILE: Google Speech Commands, sorted by the speaker's hash),
# --speechocean ROOT (speechocean762, the second test list), --stage N, --stop-stage M, --jobs N (processes, and trainings
# at a time, one thread each). Output goes to data/ and exp/ in this folder. A stage that is stopped, also by kill,
# continues when it is run again, and skips what is complete. Stages 4 to 6 are sweeps: conf/*.yaml.

corpus=
speechocean=
source "$(dirname "$0")/../common.sh"
here=recipes/boundary
data=$here/data
exp=$here/exp

if stage 0 "environment"; then
  install tensorboard
fi

if stage 1 "200 test speakers, 150 dev speakers, the rest for training, also with wrong labels and with fewer recordings"; then
  [[ -n $corpus && -n $speechocean ]] || die "--corpus and --speechocean are needed; see --help"
  python -m data_prep.folder "$corpus" "$data/all"
  spkver data split "$data/all" "$data/rest" "$data/test" --speakers 200 --seed 1
  spkver data split "$data/rest" "$data/train" "$data/dev" --speakers 150 --seed 2
  spkver data relabel "$data/train" "$data/train_wrong5" --share 0.05 --seed 1
  spkver data relabel "$data/train" "$data/train_wrong20" --share 0.2 --seed 1
  spkver data subset "$data/train" "$data/train_balanced" --per-speaker 4 --seed 1
  spkver data subset "$data/train" "$data/train_tail" --per-speaker 10 --least 1 --seed 1
  python -m data_prep.speechocean762 "$speechocean" "$data/speechocean"
fi

if stage 2 "audio packs and filterbank features"; then
  for set in train train_wrong5 train_wrong20 train_balanced train_tail dev test speechocean/test; do
    spkver pack "$data/$set" "$exp/packs/$set" --jobs "$jobs"
    spkver features "$exp/packs/$set" "$exp/feats/$set" --jobs "$jobs"
  done
fi

if stage 3 "trial lists: all target pairs, and random non-target pairs"; then
  spkver data trials "$data/dev" "$data/dev.txt" --nontargets 50000
  spkver data trials "$data/test" "$data/test.txt" --nontargets 100000
  spkver data trials "$data/speechocean/test" "$data/speechocean.txt" --nontargets 100000
fi

if stage 4 "scale and margin of each loss, six settings each, by the dev speakers"; then
  spkver sweep "$here/conf/tune.yaml" --out "$exp/tune" --jobs "$jobs"
fi

if stage 5 "every loss with its settings, on the test lists"; then
  spkver sweep "$here/conf/systems.yaml" --out "$exp/systems" --jobs "$jobs"
fi

if stage 6 "wrong labels; balanced and long-tailed speakers"; then
  for part in wrong5 wrong20 balanced tail; do
    spkver sweep "$here/conf/part.yaml" "set.data.train=$exp/feats/train_$part" --out "$exp/$part" --jobs "$jobs"
  done
fi

if stage 7 "what the selector selects, over the training"; then
  for run in systems/runs/LMCL-seed1 systems/runs/BD-LMCL-seed1 wrong20/runs/LMCL-seed1 wrong20/runs/BD-LMCL-seed1; do
    spkver train-samples "$exp/$run" --out "$exp/samples/${run/runs\//}" --data "$data/train"
  done
fi
