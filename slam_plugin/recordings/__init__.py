"""Long recordings: where speech is, pieces that a model takes, and transcripts with times. Knows no model of ours."""
