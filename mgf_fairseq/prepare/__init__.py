"""From a corpus on disk to manifests, labels and archives: `mgf prepare` and `mgf shard`."""
