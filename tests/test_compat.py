"""What is mended of the installed fairseq, where no other test would notice its absence."""

from fairseq.logging import metrics


def test_metrics_forget_aggregations_that_are_over_and_keep_those_that_are_not():
    metrics.reset()
    with metrics.aggregate("outer") as outer:
        for value in range(50):
            with metrics.aggregate():
                metrics.log_scalar("x", value)
            with metrics.aggregate(new_root=True):
                metrics.log_scalar("y", value)
        assert dict(metrics._active_aggregators_cnt) == {"default": 1, "outer": 1}
    assert dict(metrics._active_aggregators_cnt) == {"default": 1}
    assert outer["x"].count == 50 and "y" not in outer
    metrics.reset()
