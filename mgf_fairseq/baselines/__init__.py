"""Models to compare with: fairseq's wav2vec 2.0 on our data, and fixed acoustic features."""
