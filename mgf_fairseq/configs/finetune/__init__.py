"""Configurations of fine-tuning, as ``pkg://mgf_fairseq.configs.finetune``."""
