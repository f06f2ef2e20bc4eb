"""Numbers and names that preparation, training and inference share. Imports nothing, so that commands start fast."""

SAMPLE_RATE = 16_000  # Hz
FRAME_SHIFT = 160  # samples: 10 ms
FRAME_LENGTH = 400  # samples: a window of 25 ms
MEL_BINS = 80

FRAMES_PER_SECOND = SAMPLE_RATE // FRAME_SHIFT
FRAMES_PER_MINUTE = 60 * FRAMES_PER_SECOND
FRAMES_PER_HOUR = 60 * FRAMES_PER_MINUTE

# Limits of an utterance, unless a corpus or a flag has its own.
MIN_SECONDS, MAX_SECONDS = 0.1, 30.0

# Names of splits. The held-out part for validation is "valid" to fairseq and in pre-training, "dev" in corpora for
# recognition and translation.
TRAIN, VALID, DEV, TEST = "train", "valid", "dev", "test"
