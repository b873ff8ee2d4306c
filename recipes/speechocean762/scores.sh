# Sourced by the speechocean762 recipes in the root of the repository, after --trials DIR is parsed.

lists="speechocean762_test speechocean762_test_hard"

need_trials() {
  [[ -n $trials ]] || die "--trials is needed: the folder with $lists"
}

# scores DIR: score both lists with DIR/model; the enrolment side is whole, the test side whole and cut to 1, 2 and 3 s
scores() {
  local dir=$1 side list
  for side in whole 1 2 3; do
    local seconds=()
    [[ $side == whole ]] || seconds=(--seconds "$side")
    spkver extract recipes/speechocean762/exp/feats/test "$dir/test_$side.parquet" --model "$dir/model" "${seconds[@]}"
    for list in $lists; do
      spkver score "$trials/$list.txt" "$dir/test_whole.parquet" "$dir/${list}_$side.scores" --test "$dir/test_$side.parquet"
    done
  done
}
