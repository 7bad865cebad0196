"""Running networks: inference, evaluation, training, profiling."""
