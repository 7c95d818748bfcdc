"""What number does a clip get? One small class per metric, all behind `base.Scorer`."""
