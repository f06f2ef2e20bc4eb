"""AMI in its publisher's layout: a meeting to train on, one of each other split, NITE XML in Latin-1."""

from pathlib import Path
from xml.sax.saxutils import escape

from tests.data_prep.layouts.sounds import write_sound

MEETINGS = ("ES2002a", "IS1008b", "EN2002c")  # train, dev, test
SECONDS = 6.0
_OPEN = (
    '<?xml version="1.0" encoding="ISO-8859-1" standalone="yes"?>\n'
    '<nite:root {}xmlns:nite="http://nite.sourceforge.net/">\n'
)
_CLOSE = "</nite:root>\n"
# Of each speaker.
WORDS = {
    "A": [
        '<w nite:id="{}" starttime="0.2" endtime="0.5">Okay</w>',
        '<w nite:id="{}" starttime="0.5" endtime="0.5" punc="true">,</w>',
        '<disfmarker nite:id="{}" starttime="0.5" endtime="0.6"/>',
        '<w nite:id="{}" starttime="0.6" endtime="0.7" trunc="true">th</w>',
        '<w nite:id="{}" starttime="0.7" endtime="0.9">it&#39;s</w>',
        '<w nite:id="{}" starttime="0.9" endtime="1.2">L_C_D_</w>',
        '<vocalsound nite:id="{}" starttime="1.2" endtime="1.4" type="laugh"/>',
        '<w nite:id="{}" starttime="2.0" endtime="2.4">Mm-hmm</w>',
        '<w nite:id="{}" starttime="2.4" endtime="2.4" punc="true">.</w>',
        '<vocalsound nite:id="{}" starttime="3.0" endtime="3.5" type="cough"/>',
    ],
    "B": [
        '<w nite:id="{}" starttime="1.0" endtime="1.5">Café</w>',
        '<gap nite:id="{}" starttime="1.5" endtime="1.6"/>',
        '<w nite:id="{}" starttime="1.6" endtime="1.9">um</w>',
        '<w nite:id="{}" starttime="1.9" endtime="2.2">chairs</w>',
    ],
}
# First and last of a speaker's elements (None: only one), begin, end.
SEGMENTS = {
    "A": [(0, 6, 0.15, 1.4), (7, 8, 2.0, 2.5), (9, None, 3.0, 3.5)],
    "B": [(0, 3, 0.9, 2.3)],
}


def write_ami(root: Path) -> Path:
    """Write a tree without faults except a segment that is a cough, and return ``root``. A has headset 1, B 0."""
    manual = root / "ami_public_manual_1.6.2"
    for number, meeting in enumerate(MEETINGS):
        folder = root / "amicorpus" / meeting / "audio"
        for channel in (0, 1):
            write_sound(folder / f"{meeting}.Headset-{channel}.wav", SECONDS, seed=10 * number + channel)
        write_sound(folder / f"{meeting}.Array1-01.wav", SECONDS, seed=10 * number + 5)
        write_sound(folder / f"{meeting}.Mix-Headset.wav", 0.5)
        for letter in WORDS:
            write_words(manual, meeting, letter)
            write_segments(manual, meeting, letter, SEGMENTS[letter])
    write_meetings(manual, MEETINGS)
    return root


def write_meetings(manual: Path, meetings: tuple[str, ...]) -> None:
    """Write the headset of each speaker."""
    body = "".join(
        f'<meeting nite:id="meet_{number}" observation="{meeting}" type="scenario" duration="{SECONDS}">'
        f'<speaker nite:id="{meeting}_1" channel="1" nxt_agent="A" global_name="MEE00{number}" role="PM"/>'
        f'<speaker nite:id="{meeting}_2" channel="0" nxt_agent="B" global_name="FEE00{number}" role="ID"/></meeting>\n'
        for number, meeting in enumerate(meetings)
    )
    _write(manual / "corpusResources/meetings.xml", 'nite:id="meet.00" ', body)


def write_words(manual: Path, meeting: str, letter: str) -> None:
    """Write ``words/MEETING.LETTER.words.xml``."""
    names = (f"{meeting}.{letter}.words{number}" for number in range(len(WORDS[letter])))
    body = "".join(f"   {element.format(name)}\n" for element, name in zip(WORDS[letter], names, strict=True))
    name = f"{meeting}.{letter}.words"
    _write(manual / f"words/{name}.xml", f'nite:id="{name}" ', body)


def write_segments(manual: Path, meeting: str, letter: str, segments: list[tuple]) -> None:
    """Write ``segments/MEETING.LETTER.segments.xml``."""
    body = ""
    for number, (first, last, begin, end) in enumerate(segments):
        words = f"{meeting}.{letter}.words"
        href = f"{words}.xml#id({words}{first})" + ("" if last is None else f"..id({words}{last})")
        body += f'   <segment nite:id="{meeting}.sync.{letter}{number}" channel="0" transcriber_start="{begin}" '
        body += f'transcriber_end="{end}">\n      <nite:child href="{escape(href)}"/>\n   </segment>\n'
    _write(manual / f"segments/{meeting}.{letter}.segments.xml", "", body)


def _write(path: Path, names: str, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((_OPEN.format(names) + body + _CLOSE).encode("latin-1"))
