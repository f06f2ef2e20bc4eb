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

# Sound files by suffix, in lower case: upper case is read too. Of files that differ in the suffix alone, preparation
# takes the first in this order: a decompressed copy comes before a publisher's compressed SPHERE file (sph, wv1).
# Those from m4a on need PyAV, the extra [av].
SOUND_SUFFIXES = (
    *(".wav", ".flac", ".sph", ".wv1", ".wv2", ".ogg", ".oga", ".opus", ".mp3", ".mp2"),
    *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64"),
    *(".m4a", ".m4b", ".mp4", ".aac", ".webm", ".mka", ".mkv", ".mov", ".3gp", ".amr", ".wma", ".ac3", ".ape"),
    *(".wv", ".tta", ".shn", ".avi", ".flv"),
)

# Names of splits. The held-out part for validation is "valid" to fairseq and in pre-training, "dev" in corpora for
# recognition and translation.
TRAIN, VALID, DEV, TEST = "train", "valid", "dev", "test"
