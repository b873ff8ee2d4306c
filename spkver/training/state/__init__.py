"""What a run reads and writes beside its log: checkpoints, class weights, first weights, provenance."""
