"""From features to a measured head: solves, baselines, intervals, reports, pictures."""
