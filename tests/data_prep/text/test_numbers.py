import pytest

from data_prep.text.numbers import KINDS, kinds_of, ordinal_form, speak


@pytest.mark.parametrize(
    ("written", "kind", "spoken"),
    [
        ("0", "cardinal", "zero"),
        ("1,234", "cardinal", "one thousand two hundred and thirty four"),
        ("1234567", "cardinal", "one million two hundred and thirty four thousand five hundred and sixty seven"),
        ("21st", "ordinal", "twenty first"),
        ("112th", "ordinal", "one hundred and twelfth"),
        ("3.14", "decimal", "three point one four"),
        (".05", "decimal", "zero point zero five"),
        ("1,200.50", "decimal", "one thousand two hundred point five zero"),
        ("1984", "year", "nineteen eighty four"),
        ("1905", "year", "nineteen oh five"),
        ("2000", "year", "two thousand"),
        ("2021", "year", "twenty twenty one"),
        ("1960s", "year", "nineteen sixties"),
        ("1900s", "year", "nineteen hundreds"),
        ("1863-1914", "years", "eighteen sixty three to nineteen fourteen"),
        ("3/4/2021", "date", "march fourth twenty twenty one"),
        ("2021-12-31", "date", "december thirty first twenty twenty one"),
        ("$3.50", "money", "three dollars fifty cents"),
        ("$1", "money", "one dollar"),
        ("£2,000.01", "money", "two thousand pounds one penny"),
        ("€7.00", "money", "seven euros"),
        ("12%", "percent", "twelve percent"),
        ("9.5%", "percent", "nine point five percent"),
        ("1/2", "fraction", "one half"),
        ("3/2", "fraction", "three halves"),
        ("3/4", "fraction", "three fourths"),
        ("5/21", "fraction", "five twenty firsts"),
        ("1km", "measure", "one kilometer"),
        ("2.5ft", "measure", "two point five feet"),
        ("55mph", "measure", "fifty five miles an hour"),
        ("3:00", "time", "three o'clock"),
        ("3:05", "time", "three oh five"),
        ("12:45", "time", "twelve forty five"),
        ("555-0182", "digits", "five five five zero one eight two"),
    ],
)
def test_how_it_is_said(written, kind, spoken):
    assert kind in kinds_of(written) and speak(written, kind) == spoken


@pytest.mark.parametrize(
    ("written", "kind"),
    [("2st", "ordinal"), ("11st", "ordinal"), ("1914-1863", "years"), ("13/1/2021", "date"), ("1/32/2021", "date"),
     ("0/3", "fraction"), ("4/0", "fraction"), ("4/1", "fraction"), ("13:10", "time"), ("0:30", "time"),
     ("1961s", "year")],
)  # fmt: skip
def test_what_cannot_be_said(written, kind):
    assert kinds_of(written) == [kind] and speak(written, kind) is None


@pytest.mark.parametrize("written", ["b1", "2-dimensional", "1,00", "12:61", "3km2", "$", "", "1.2.3", "22nd.", "v8"])
def test_forms_of_no_kind(written):
    assert kinds_of(written) == []
    for kind in KINDS:
        with pytest.raises(ValueError, match=f"is no {kind}"):
            speak(written, kind)


def test_a_number_of_four_digits_is_of_two_kinds():
    assert kinds_of("1984") == ["cardinal", "year"]
    assert speak("1984", "cardinal") == "one thousand nine hundred and eighty four"


def test_ordinals_end_as_they_are_said():
    ends = {"st": "first", "nd": "second", "rd": "third"}
    for number in range(1, 200):
        form = ordinal_form(number)
        said = speak(form, "ordinal")
        assert said.endswith(ends[form[-2:]] if form[-2:] in ends else "th")


def test_forms_that_are_too_long_have_no_kind():
    assert kinds_of("1" * 5000) == kinds_of("1," * 3000 + "000") == kinds_of("$" + "9" * 400) == []
    assert kinds_of("1" * 60) == ["cardinal"] and speak("1" * 60, "cardinal")
