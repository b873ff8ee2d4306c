#!/usr/bin/env bash
# How margins change angles: small experiments as in the papers, on one page of pictures. Downloads nothing.
#
#   bash recipes/margin_geometry/run.sh                              all stages
#   bash recipes/margin_geometry/run.sh --stage 3 --stop-stage 4     the margins themselves, and the page
#
# Options: --stage N, --stop-stage M, --jobs N (processes), --seed N (first seed), --seeds N (number of seeds). The
# output goes to exp/ in this folder. The same seeds give the same numbers with any number of processes.

seed=1
seeds=5
source "$(dirname "$0")/../common.sh"
here=recipes/margin_geometry
exp=$here/exp

if stage 0 "environment"; then
  install geometry
fi

if stage 1 "digits in two dimensions: softmax and L-softmax"; then
  python -m recipes.margin_geometry digits --out "$exp/digits" --seed "$seed" --seeds "$seeds" --jobs "$jobs"
fi

if stage 2 "eight speakers in two and three dimensions: NSL, LMCL, BD-LMCL"; then
  python -m recipes.margin_geometry speakers --out "$exp/speakers" --seed "$seed" --seeds "$seeds" --jobs "$jobs"
fi

if stage 3 "the margins: ψ(θ) and the boundaries between two classes"; then
  python -m recipes.margin_geometry margins --out "$exp/margins"
fi

if stage 4 "the page"; then
  python -m recipes.margin_geometry page "$exp/margins" "$exp/digits" "$exp/speakers" --out "$exp/index.html"
fi
