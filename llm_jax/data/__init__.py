"""From files to batches: documents, token shards, packing, conversations."""
