"""The table and the chart of speech and text in one model, of records made by hand."""

from examples.slam.study.capacity_report import agreement_panel, capacity_table


def record(size: str, data: str, seed: int, **curves: tuple[float, float]) -> dict:
    points = {key: [[10, first], [20, last]] for key, (first, last) in curves.items()}
    return {"size": size, "data": data, "seed": seed, "updates": 20, "curves": points}


def both(seed: int, speech: float, text: float, *agreement: float) -> dict:
    curves = {"kmeans_loss": (4.1, speech), "span_mlm_loss": (2.8, text), "agreement_speech_text": agreement}
    return record("tiny", "speech, text", seed, **curves)


RECORDS = [
    record("tiny", "speech", 1, kmeans_loss=(4.0, 3.0)),
    record("tiny", "speech", 2, kmeans_loss=(4.0, 3.5)),
    record("tiny", "text", 1, span_mlm_loss=(3.0, 2.5)),
    both(1, 3.2, 2.25, 0.5, 0.0),
    both(2, 3.4, 2.75, 0.3, 0.2),
    record("small", "text 4", 1, span_mlm_loss=(2.0, 1.5)),
]


def test_last_losses_and_mean_agreement_by_size_and_amount_of_text():
    table = capacity_table(RECORDS)
    assert "after 20 updates" in table.words
    tiny, tiny_4, small, small_4 = table.rows
    assert tiny == ["tiny", "× 1", "3.250 (2)", "3.300 (2)", "2.500 (1)", "2.500 (2)", "0.250 (2)"]
    assert tiny_4 == ["tiny", "× 4", "3.250 (2)", *["not run"] * 4]
    assert small == ["small", "× 1", *["not run"] * 5]
    assert small_4 == ["small", "× 4", *["not run"] * 2, "1.500 (1)", *["not run"] * 2]


def test_agreement_is_drawn_for_models_of_both():
    picture = agreement_panel(RECORDS).chart.picture
    assert "tiny, text × 1, 10 updates: 0.40" in picture and "tiny, text × 1, 20 updates: 0.10" in picture
    assert "small" not in picture
    assert agreement_panel([one for one in RECORDS if one["data"] == "speech"]) is None
