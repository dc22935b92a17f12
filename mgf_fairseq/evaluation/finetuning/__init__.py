"""Fine-tuning for the recognition task: its recipe, its trainings and its score."""
