"""A mixture of corpora: the outputs of several corpora in common files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit
from slam_plugin.data.errors import DataError

# Two members may use the same id or speaker for different things, so these get the member's name as a prefix.
OWN_COLUMNS = ("id", "speaker")


class Member(NamedTuple):
    """A corpus of the mixture.

    Attributes:
        name: prefix of its ids, speakers, units and dropped places.
        names: which outputs of the mixture an output of the corpus goes to; outputs that are absent are not written.
    """

    name: str
    corpus: Corpus
    names: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Mixture(Corpus):
    """The units of all members, one member after the other.

    Outputs are manifests. Outputs of the same name must have the same columns. A member's ``finish`` is not called.
    """

    command: str
    members: tuple[Member, ...]

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {
            "command": self.command,
            "members": {member.name: dict(member.corpus.recipe) for member in self.members},
        }

    def contents(self) -> str:
        return " ".join(f"{member.name}:{member.corpus.contents()}" for member in self.members)

    @property
    def outputs(self) -> Mapping[str, Output]:
        found: dict[str, Output] = {}
        for member in self.members:
            for name, output in member.corpus.outputs.items():
                for mixed in member.names.get(name, ()):
                    ours = Output((f"{mixed}.tsv",), output.columns)
                    if found.setdefault(mixed, ours) != ours:
                        raise DataError(
                            f"{mixed}: {member.name} has columns {output.columns}, others {found[mixed].columns}"
                        )
        return found

    def units(self) -> Iterator[Unit]:
        for member in self.members:
            for unit in member.corpus.units():
                yield unit._replace(key=f"{member.name}/{unit.key}")

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        name, _, key = unit.key.partition("/")
        member = next(member for member in self.members if member.name == name)
        columns = {output: member.corpus.outputs[output].columns for output in member.corpus.outputs}
        for result in member.corpus.read(unit._replace(key=key)):
            if isinstance(result, Item):
                text = _own(result.texts[0], columns[result.output], name)
                for mixed in member.names.get(result.output, ()):
                    yield Item(mixed, (text,))
            elif isinstance(result, Dropped):
                yield result._replace(place=f"{name}/{result.place}")
            else:
                yield Noted(f"{name}: {result.what}")


def _own(row: str, columns: tuple[str, ...], name: str) -> str:
    """Return the row with the member's name before its id and speaker."""
    fields = row.rstrip("\n").split("\t")
    pairs = zip(columns, fields, strict=True)
    return "\t".join(f"{name}-{field}" if column in OWN_COLUMNS else field for column, field in pairs) + "\n"
