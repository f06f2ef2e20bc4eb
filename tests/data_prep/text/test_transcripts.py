"""Transcripts of seven publishers: each notation as words, in one common notation."""

import pytest

from data_prep.text import transcripts
from slam_plugin.scoring.text import wer

ALIKE = {
    "Mm-hmm, uh-huh; TV's OK, Mr. O’Neill's twenty-one!": "mhm uhhuh tv's okay mister o'neill's twenty one",
    "Um, o. k. Dr. t._v.'s um-hum mm hmm MHM": "okay doctor t v's mhm mhm mhm",
    "uh-uh, erm: books, smoke. Hmm?": "uhuh books smoke",
    "Café «Cæsar» 'tis the dogs' 90%": "cafe caesar tis the dogs 90",
    "uh ... um, --": "",
}


@pytest.mark.parametrize(("text", "words"), ALIKE.items())
def test_what_all_have_in_common(text, words):
    assert transcripts.common_notation(text) == words
    assert transcripts.common_notation(words) == words


def test_ami():
    assert transcripts.ami(["I'm", "L_C_D_'s", "T_V_", "Mm-hmm", "Okay", "X_M_L"]) == "i'm l c d's t v mhm okay x m l"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hi um yeah i'd like [laughter] to", "hi yeah i'd like to"),
        ("[laughter-yes] [laughter-i[t]-] [laughter-[wolr/world]]", "yes world"),
        ("[wolr/world] [lem[guini]-/linguini]", "world linguini"),
        ("th[is]- -[an]y ammu[n]it- wo- ab[solute] - so", "so"),
        ("{yuppiedom} them_1 them_1's <b_aside> t v <e_aside>", "yuppiedom them them's t v"),
        ("[noise] [vocalized-noise] [silence]", ""),
    ],
)
def test_switchboard(text, words):
    assert transcripts.switchboard(text) == words


def test_fisher():
    assert transcripts.fisher("an- so t._v.'s [laughter] uh-huh [mn] <foreign> okay") == "so t v's uhhuh okay"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(%HESITATION) HE'S (I-) %BCACK UH-HUH", "he's uhhuh"),
        ("{ A / THE } MAN <B_ASIDE> [NOISE] {BREATH} T. V.'S", "a man t v's"),
        ("((X)) WENT TH- (WELL) OK", "went okay"),
    ],
)
def test_hub5(text, words):
    assert transcripts.hub5(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("it 's <sil> a test(2) {NOISE} don 't <unk> they 're o'clock", "it's a test don't they're o'clock"),
        ("uh i 'd say 'the end' (AaronHuey_2010X-1.00-2.00-F0_M-S1)", "i'd say the end"),
    ],
)
def test_tedlium(text, words):
    assert transcripts.tedlium(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (r"The \"DOUBLE-QUOTE *December* <and> contract ,COMMA", "the double quote december and contract comma"),
        (r"--DASH \%PERCENT \.POINT (LEFT-PAREN \;SEMI-COLON", "dash percent point left paren semi colon"),
        (r"fi(ve)- [door_slam] [<phone_ring] . a:nd !stress ~", "and stress"),
        (r"I\. B\. M\.'s O'Neill 'til Mr. two\.", "i b m's o'neill til mister two"),
    ],
)
def test_wsj(text, words):
    assert transcripts.wsj(text) == words


def test_notation_costs_no_errors():
    reference = transcripts.hub5("(%HESITATION) WELL (TH-) UH-HUH T. V. IS OK")
    assert wer(["well uhhuh t v is okay"], [reference]) == 0.0
    assert wer(["well t v is okay"], [reference]) == pytest.approx(100 / 6)
