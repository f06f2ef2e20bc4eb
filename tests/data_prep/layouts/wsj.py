"""WSJ0 and WSJ1 in the layout of the LDC's discs: indices, ``.wv1``, ``.dot``. One disc copied in capitals."""

from pathlib import Path

from tests.data_prep.layouts.sphere import write_sphere

SECONDS = 1.5
INDICES = {
    "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx": [
        ";; Index of the training sentences",
        "11_1_1:wsj0/si_tr_s/011/011c0201.wv1",
        "11_1_1:wsj0/si_tr_s/011/011c0202.wv1",
        "11_2_1:wsj0/si_tr_s/401/401c0201.wv1",
    ],
    "11-13.1/wsj0/doc/indices/test/nvp/si_et_20.ndx": ["11_14_1:wsj0/si_et_20/440/440c0401"],
    "13-34.1/wsj1/doc/indices/si_tr_s.ndx": ["13_1_1: wsj1/si_tr_s/46o/46oc0201.wv1"],
    "13-34.1/wsj1/doc/indices/h1_p0.ndx": ["13_16_1: wsj1/si_dt_20/4k0/4k0c0301.wv1"],
}
SOUNDS = (
    *("11-1.1/wsj0/si_tr_s/011/011c0201.wv1", "11-1.1/wsj0/si_tr_s/011/011c0202.wv1"),
    *("11-2.1/wsj0/si_tr_s/401/401c0201.wv1", "11-14.1/wsj0/si_et_20/440/440c0401.wv1"),
    *("13-1.1/WSJ1/SI_TR_S/46O/46OC0201.WV1", "13-16.1/wsj1/si_dt_20/4k0/4k0c0301.wv1"),
)
DOTS = {
    "11-4.1/wsj0/transcrpt/dots/si_tr_s/011/011c0200.dot": [
        r"The *sale* of the hotels is part of Holiday's strategy ,COMMA it said \.PERIOD (011c0201)",
        r"I\. B\. M\. <and> Mr. Smith [loud_breath] declined to co(mment)- comment --DASH ~ (011c0202)",
    ],
    "11-4.1/wsj0/transcrpt/dots/si_tr_s/401/401c0200.dot": ["Left out (401c0201)"],
    "11-14.1/wsj0/si_et_20/440/440c0400.dot": ["Twenty-one \\%PERCENT of it . rose [<door_slam] (440c0401)"],
    "13-34.1/wsj1/trans/wsj1/si_tr_s/46o/46oc0200.dot": ['"DOUBLE-QUOTE Yes (46oc0201)'],
    "13-34.1/wsj1/trans/wsj1/si_dt_20/4k0/4k0c0300.dot": ["It closed at a low (4k0c0301)"],
}


def write_wsj(root: Path) -> Path:
    """Write discs without faults, with uncompressed sound, and return ``root``."""
    for seed, name in enumerate(SOUNDS):
        write_sphere(root / name, SECONDS, seed=seed)
        (root / name).with_suffix(".wv2").write_bytes(b"the second microphone")
    for name, lines in (*INDICES.items(), *DOTS.items()):
        write_lines(root / name, lines)
    return root


def write_lines(path: Path, lines: list[str]) -> Path:
    """Write a text file of ``lines``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
