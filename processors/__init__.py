"""Who reads: pure projections, the store and its sink. Never imports the agent room."""
