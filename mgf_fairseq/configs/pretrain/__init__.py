"""Configurations of pre-training, as ``pkg://mgf_fairseq.configs.pretrain``."""
