"""Outputs of systems: texts with errors, files of fairseq-generate, and the textbook distance between sequences."""

import random

WORDS = "the cat sat on a mat and saw two dogs in the old house by the sea".split()


def sentences(seed: int, count: int = 30) -> list[str]:
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(WORDS, k=drawn.randint(4, 12))) for _ in range(count)]


def damaged(lines: list[str], rate: float, seed: int) -> list[str]:
    drawn = random.Random(seed)
    return [" ".join(w if drawn.random() > rate else drawn.choice(WORDS) for w in line.split()) for line in lines]


REFERENCES = sentences(0)
GOOD, BAD = damaged(REFERENCES, 0.2, 1), damaged(REFERENCES, 0.35, 2)


def naive_distance(left, right) -> int:
    """The textbook table of edit distances, one cell at a time."""
    table = [[i + j if i * j == 0 else 0 for j in range(len(right) + 1)] for i in range(len(left) + 1)]
    for i in range(1, len(left) + 1):
        for j in range(1, len(right) + 1):
            change = table[i - 1][j - 1] + (left[i - 1] != right[j - 1])
            table[i][j] = min(change, table[i - 1][j] + 1, table[i][j - 1] + 1)
    return table[-1][-1]


def generation(rows, nbest=1) -> str:
    """A file as fairseq-generate writes it: logging lines between, ids in the order of decoding."""
    lines = ["2026-01-01 00:00:00 | INFO | fairseq_cli.generate | {'_name': None, 'common': {}}"]
    for sentence, hypothesis, reference in rows:
        lines.append(f"T-{sentence}\t{reference}")
        for rank in range(nbest):
            text = hypothesis if rank == 0 else "a worse hypothesis"
            lines += [f"H-{sentence}\t-0.5\t{text}", f"D-{sentence}\t-0.5\t{text}", f"P-{sentence}\t-0.1 -0.2"]
    lines.append("Generate test with beam=5: BLEU4 = 0.00")
    return "\n".join(lines) + "\n"
