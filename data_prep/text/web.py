"""Clean web pages: keep the sentences that are prose in the page's language, and the pages with enough of them.

A line that does not end like a sentence (a title, a menu, a row of a table) is left out. The others are cut into
sentences, which are normalized like transcripts (:func:`data_prep.text.normalize.normalize`, for English
:func:`data_prep.text.normalize.normalize_english`). A sentence is left out if it

- holds markup, an address or a user name,
- holds a digit, because how it is read is unknown (unless digits are kept), or no letter,
- holds a letter that the language does not use,
- has fewer than :data:`MIN_WORDS` words or more than :data:`MAX_WORDS`,
- occurs in the same page before.

A page is left out if less than :data:`MIN_FREQUENT_SHARE` of its words are frequent words of the language, if fewer
than :data:`MIN_SENTENCES` sentences or less than :data:`MIN_USED_SHARE` of its words remain, or if more than
:data:`MAX_PAGE_WORDS` words remain. Abbreviations are not expanded.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from data_prep.text.normalize import (
    CZECH_LETTERS,
    ENGLISH_LETTERS,
    foreign_letters,
    is_spelled_out,
    normalize,
    normalize_english,
)

MIN_WORDS, MAX_WORDS = 3, 100
MIN_SENTENCES, MAX_PAGE_WORDS = 3, 100_000
MIN_FREQUENT_SHARE, MIN_USED_SHARE = 0.05, 0.5

# Each pattern looks at every character a few times at most: what could match in many ways is matched possessively.
_QUOTES_BEHIND = r"""["'”’»)\]]*+"""
_LINE_END = re.compile(rf"[.!?…]{_QUOTES_BEHIND}$")
_SENTENCE_END = re.compile(rf"""(?<=[.!?…]){_QUOTES_BEHIND}\s++(?=["'“‘„«(\[¿¡–—-]*+\s*+([^\W_]))""")
_ABBREVIATION = re.compile(
    r"\b(?:[^\W\d_]|mr|mrs|ms|dr|prof|st|vs|jr|sr|gen|col|capt|rev|hr|nr|bzw|ing|mgr|doc|např|tzv|sra?|mme)\.$",
    re.IGNORECASE,
)
_MAX_ABBREVIATION = 5  # characters, with the period
_MARKUP = re.compile(r"[{}<>|\\@#_=]|https?:|www\.|\w-*+\.(?:com|org|net|html?)\b", re.IGNORECASE)


class Language(NamedTuple):
    """A language: its letters, and frequent words that no other language here has."""

    letters: frozenset[str]
    words: frozenset[str]


def _language(letters: str | frozenset[str], words: str) -> Language:
    return Language(ENGLISH_LETTERS | frozenset(letters), frozenset(words.split()))


LANGUAGES = {
    "en": _language(
        "",
        "the of and that is was for it with he his be at by this had not are but from or have an they which you were "
        "her all she there would their we him been has when who will more if out so said what up its about into than",
    ),
    "de": _language(
        "äöüß",
        "der die und den von zu das mit sich auf für ist im dem nicht ein eine als auch es werden aus er hat "
        "dass sie nach wird bei einer um am sind noch wie einem über einen war haben nur oder aber vor zur bis mehr",
    ),
    "fr": _language(
        "àâæçéèêëîïôœùûüÿ",
        "et le les des du une dans qui pour pas sur au plus par avec ce il sont mais nous vous ou ses aux cette elle "
        "été être était leur même ces sans ont fait deux ainsi peut tout comme c'est d'une d'un qu'il n'est",
    ),
    "es": _language(
        "áéíóúüñ",
        "y los las del por con una para su lo al como más pero sus este ya muy hasta también desde todo nos durante "
        "uno ni contra ese eso había mí antes porque sin sobre entre cuando donde son tiene era años está hay fue",
    ),
    "ca": _language(
        "àçèéíïòóúü",
        "i els amb per és dels més però aquesta aquest seva seu va són ha ser també fins perquè molt quan sense "
        "tots cap doncs així havia estat dos anys altres mateix qual això on hi li uns",
    ),
    "cs": _language(
        CZECH_LETTERS,
        "se na je že v s z do o k pro jsem ale jako za jeho byl tak po které jen podle jsou který "
        "která od před při až nebo už byla bylo jsme může také než své mezi pod kde když tím jak co však této",
    ),
}


class Page(NamedTuple):
    """A cleaned page: the sentences that are kept, the reasons of those left out, and why the page is, or None."""

    sentences: list[str]
    left_out: Counter[str]
    fault: str | None


def clean(text: str, language: str, keep_digits: bool = False, trust_language: bool = False) -> Page:
    """Return the page with the sentences that are kept.

    ``language`` is one of :data:`LANGUAGES`, or any with ``trust_language``, which skips the tests of the language.
    """
    known = None if trust_language else LANGUAGES[language]
    left_out: Counter[str] = Counter()
    used: dict[str, None] = {}
    words: Counter[str] = Counter()
    for line in filter(None, map(str.strip, text.splitlines())):
        if not _LINE_END.search(line):
            left_out["line that does not end like a sentence"] += 1
            continue
        for written in sentences_of(line):
            sentence = normalize_english(written) if language == "en" else normalize(written, language)
            words.update(sentence.split())
            fault = _fault(written, sentence, known, keep_digits)
            if sentence in used:
                fault = "sentence that occurs in its page before"
            if fault:
                left_out[fault] += 1
            else:
                used[sentence] = None
    found = sum(words[word] for word in known.words) if known else words.total()
    if found < MIN_FREQUENT_SHARE * words.total():
        fault = f"is not in language {language}: {found} of {words.total()} words are frequent in it"
    else:
        fault = _page_fault(list(used), len(text.split()))
    return Page(list(used), left_out, fault)


def sentences_of(line: str) -> Iterator[str]:
    """Yield the sentences of a line as they are written."""
    begin = 0
    for end in _SENTENCE_END.finditer(line):
        # Only the last word matters. To search from the begin would take long in a line of initials.
        last = max(begin, end.start() - _MAX_ABBREVIATION)
        if not end[1].islower() and not _ABBREVIATION.search(line, last, end.start()):
            yield line[begin : end.start()]
            begin = end.end()
    yield line[begin:]


def _fault(written: str, sentence: str, language: Language | None, keep_digits: bool) -> str | None:
    """Return why a sentence is left out, or None."""
    words = sentence.count(" ") + 1
    if _MARKUP.search(written):
        return "sentence with markup or an address"
    if not any(map(str.isalpha, sentence)):
        return "sentence without letters"
    if not keep_digits and not is_spelled_out(sentence):
        return "sentence with digits"
    if language and foreign_letters(sentence, language.letters):
        return "sentence with letters of another language"
    if words < MIN_WORDS:
        return f"sentence of fewer than {MIN_WORDS} words"
    if words > MAX_WORDS:
        return f"sentence of more than {MAX_WORDS} words"
    return None


def _page_fault(sentences: list[str], words: int) -> str | None:
    """Return why a page is left out, or None. ``words`` counts all its words, with titles and menus."""
    used = sum(sentence.count(" ") + 1 for sentence in sentences)
    if len(sentences) < MIN_SENTENCES:
        return f"has fewer than {MIN_SENTENCES} usable sentences"
    if used < MIN_USED_SHARE * words:
        return f"holds too little prose: {used} of {words} words are usable"
    if used > MAX_PAGE_WORDS:
        return f"has more than {MAX_PAGE_WORDS} words"
    return None
