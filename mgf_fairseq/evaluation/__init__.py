"""The evaluations on frozen features: tasks, probes, scores, and the result files they leave.

Last in the flow before the report; features come from the feature store, labels from the files
that `mgf prepare` writes.
"""
