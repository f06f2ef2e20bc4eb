"""Every reader of users' files under damaged and invented input.

    make fuzz N=100000                                     all readers, about N cases
    python -m tests.fuzz --cases 5000 --jobs 1             the same by hand
    python -m tests.fuzz --reader manifest.tsv --cases 500 one reader
    python -m tests.fuzz --reader manifest.tsv --case 17   one case again, with its traceback

A *reader* (:mod:`tests.fuzz.reader`) writes a valid input as publishers have it, and reads it. A *case* is a reader and
a number. The number decides alone what is changed (:mod:`tests.fuzz.cases`), so a case can be run again. The only
outcomes that are right are a result, and a :class:`DataError` that names the file. All else is a *finding*: another
exception, an error without the name, death by a signal, too much time or memory, a program that is started, a file
that is made or changed outside of the case's folder (:mod:`tests.fuzz.batch`). A new reader is one entry in the table
of its area (``tests/fuzz/of_*.py``).
"""
