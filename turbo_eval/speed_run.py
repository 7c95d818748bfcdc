"""What does `turbo-eval speed` do? Load, warm up, measure interleaved, judge, write."""
