"""The written list: all that the configuration in a checkpoint may name. Nothing else is built from one.

fairseq builds whatever a checkpoint's configuration names, and some of its builders run strings of that configuration
as Python. These are the plugin's own tasks and models, what the recipes use of fairseq, and its usual schedules. None
runs a string but ``adam``, whose ``adam_betas`` is checked. A new task, model or criterion of the plugin needs its name
here.
"""

_SPEECH = {"slam_speech_to_text", "slam_ctc", "slam_transducer"}

# Each task with the models that it builds.
TASKS: dict[str, set[str]] = {
    "slam_pretraining": {"slam_pretraining"},
    "slam_speech_to_text": _SPEECH,
    "slam_joint_translation": {"slam_speech_to_text"},
    "slam_translation": {"slam_text_to_text"},
    "slam_sentence_prediction": {"slam_classifier"},
}

# Each section of the configuration that names something to build, with its names. Sections that are not here name
# nothing: ``bpe`` and ``tokenizer`` are ignored by the plugin's tasks.
LIST: dict[str, set[str]] = {
    "task": set(TASKS),
    "model": set().union(*TASKS.values()),
    "criterion": {
        *("slam_pretraining", "slam_ctc", "slam_transducer", "slam_label_smoothed_cross_entropy_with_ctc"),
        *("label_smoothed_cross_entropy", "cross_entropy", "sentence_prediction"),
    },
    "optimizer": {"slam_adamw", "slam_muon", "adam", "sgd"},
    "lr_scheduler": {"slam_inverse_sqrt", "cosine", "fixed", "inverse_sqrt", "polynomial_decay", "tri_stage"},
    "scoring": {"bleu", "sacrebleu", "wer"},
    "bpe": {"sentencepiece"},
    "tokenizer": {"space"},
}

# Classes of fairseq's meters, which it looks up by the names in a checkpoint.
METERS = {"AverageMeter", "ConcatTensorMeter", "StopwatchMeter", "SumMeter", "TimeMeter"}
