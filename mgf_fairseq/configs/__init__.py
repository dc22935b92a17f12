"""The YAML configurations of pre-training and fine-tuning; hydra's ``pkg://`` needs packages."""
