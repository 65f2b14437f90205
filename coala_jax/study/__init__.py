"""From features to a measured head, its baselines and report; what pairs give away before that."""
