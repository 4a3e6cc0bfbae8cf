"""What keeps a collection whole: checking, repairing, backing up, restoring. Never scores."""
