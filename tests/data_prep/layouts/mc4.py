"""mC4 and C4 in their publisher's layout: numbered gzip files of JSON lines, and files for validation."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

# A page of each language, in sentences that end lines or not.
PAGES = {
    "en": "The old bridge was built by a miller who had lost his only horse in the river. It is still there, and people"
    " say that it will not fall.\nEvery spring the water rises to the third stone! Nobody has ever seen it higher.",
    "de": "Die alte Brücke wurde von einem Müller gebaut, der sein einziges Pferd im Fluss verloren hatte. Sie steht"
    " noch, und die Leute sagen, dass sie nicht fallen wird.\nIn jedem Frühling steigt das Wasser bis zum Stein!",
    "fr": "Le vieux pont a été construit par un meunier qui avait perdu son seul cheval dans la rivière. Il est encore"
    " là, et les gens disent qu'il ne tombera pas.\nChaque printemps, l'eau monte plus haut que la pierre.",
    "es": "El viejo puente fue construido por un molinero que había perdido su único caballo en el río. Todavía"
    " está allí, y los vecinos dicen que no caerá.\nEn primavera el agua sube hasta la piedra, pero nadie vio más.",
    "ca": "El pont vell va ser construït per un moliner que havia perdut el seu únic cavall al riu. Encara hi és, i els"
    " veïns diuen que no caurà.\nCada primavera l'aigua puja fins a la pedra, però ningú no l'ha vista més amunt.",
    "cs": "Starý most postavil mlynář, který přišel o svého jediného koně v řece. Most tam ještě stojí a lidé říkají,"
    " že nespadne.\nKaždé jaro se voda zvedne až ke kameni, ale nikdo ji neviděl výš než tam.",
}


def page(text: str, number: int = 0) -> dict[str, str]:
    """Return a page in the publisher's format."""
    return {"text": text, "timestamp": f"2019-04-25T12:{number % 60:02d}:54Z", "url": f"https://a.example/{number}"}


def write_pages(path: Path, lines: Sequence[Mapping[str, str] | bytes]) -> None:
    """Write a file of pages, or of malformed lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(gzip.compress(b"".join(line + b"\n" for line in data), mtime=0))


def stories(first: int, count: int) -> list[dict[str, str]]:
    """Return distinct English pages with titles and menus around their sentences."""
    words = ("apple", "winter", "candle", "market", "garden", "ladder", "harbour")
    pages = []
    for number in range(first, first + count):
        one, two = words[number % 7], words[number // 7 % 7]
        text = f"Home\nThe {one} of the {two} was lost at noon. “It’s not here,” said the maid. Who had the {two} then?"
        pages.append(page(f"{text}\nAll of that happened {'very ' * (number // 49)}long ago.\nRead more", number))
    return pages


def write_mc4(root: Path) -> None:
    """Write English in two files and one for validation, and German, without faults."""
    write_pages(root / "c4-en.tfrecord-00000-of-00002.json.gz", stories(0, 40))
    write_pages(root / "c4-en.tfrecord-00001-of-00002.json.gz", stories(35, 40))  # five stand in the first too
    write_pages(root / "c4-en-validation.tfrecord-00000-of-00001.json.gz", stories(100, 6))
    write_pages(root / "c4-de.tfrecord-00000-of-00001.json.gz", [page(PAGES["de"])])


def write_c4(root: Path) -> None:
    """Write two of the 1024 files, without validation."""
    write_pages(root / "c4-train.00000-of-01024.json.gz", stories(0, 40))
    write_pages(root / "c4-train.00005-of-01024.json.gz", stories(35, 40))
