"""What the embedded set's pages say: words, sentences, numbers, receipt rows. Every choice comes from `rng`."""

from __future__ import annotations

import string

import numpy as np

COMMON = (
    "about after again air all always and animal answer area back bakery bank before best between bicycle blue board "
    "book bridge bus cafe call card cash centre change city clean close coffee cold corner daily dance day delivery "
    "dinner discount doctor door east easy enter every exit express family fast find fire first flight flower food "
    "free fresh friday garden gate glass gold good green ground hall happy health high home hotel house information "
    "island item jacket january journey juice keep key kitchen lake large last left letter library light line local "
    "lunch machine main manager market menu mild milk minute money monday morning mountain museum music name new "
    "news night north number ocean office one open orange order original paper park parking part pass pay people "
    "phone photo pizza place platform please police post price private public quality queen quick quiet radio rain "
    "ready receipt red restaurant return right river road room round sale school sea second service shop small soup "
    "south speed spring square star station stop store street sugar summer sunday super table taxi tea thank ticket "
    "time today total tower town toy track train travel tree under union unit university up valley video view visit "
    "walk warm water way welcome west white wind window winter wood work world year yellow young zone"
)
WORDS = COMMON.split()


def _cased(word: str, style: int) -> str:
    return (word.lower(), word.capitalize(), word.upper())[style]


def words(rng: np.random.Generator, count: int) -> str:
    """`count` words in one letter case, with a number or a random string among them now and then."""
    style = int(rng.integers(3))
    parts = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.80:
            parts.append(_cased(WORDS[int(rng.integers(len(WORDS)))], style))
        elif kind < 0.90:
            parts.append(code(rng))
        else:
            parts.append(number(rng))
    return " ".join(parts)


def code(rng: np.random.Generator) -> str:
    """3 to 8 random letters and digits, as on labels and number plates."""
    pool = (string.ascii_uppercase + string.digits, string.ascii_letters)[int(rng.integers(2))]
    return "".join(pool[int(i)] for i in rng.integers(0, len(pool), int(rng.integers(3, 9))))


def number(rng: np.random.Generator) -> str:
    """A number in one of the forms seen on signs and papers: a year, a date, a time, a telephone, a percentage."""
    a, b, c = (int(n) for n in rng.integers(0, 100, 3))
    forms = (
        f"{1900 + a + b // 2}",
        f"{1 + a % 28:02}/{1 + b % 12:02}/{2000 + c % 30}",
        f"{a % 24:02}:{b % 60:02}",
        f"0{a:02}-{b:02}{c:02}{a:02}",
        f"{1 + a}%",
        f"{a}{b:02}{c:02}",
    )
    return forms[int(rng.integers(len(forms)))]


def amount(rng: np.random.Generator) -> str:
    """A price, with or without a currency."""
    value = f"{int(rng.integers(1, 400))}.{int(rng.integers(100)):02}"
    return ("", "", "$", "RM ")[int(rng.integers(4))] + value


def paragraph(rng: np.random.Generator, lines: int) -> list[list[str]]:
    """`lines` rows of one cell each: running text."""
    longest = int(rng.integers(2, 5))
    return [[words(rng, int(rng.integers(max(1, longest - 2), longest + 1)))] for _ in range(lines)]


def receipt(rng: np.random.Generator, lines: int) -> list[list[str]]:
    """`lines` rows of two cells each: an item and its amount, two text lines that are apart."""
    return [[words(rng, int(rng.integers(1, 3))), amount(rng)] for _ in range(lines)]


def single(rng: np.random.Generator, most_words: int = 3) -> list[list[str]]:
    """One row of one cell: 1 to `most_words` words, a number or an amount."""
    kind = rng.random()
    if kind < 0.7:
        return [[words(rng, int(rng.integers(1, most_words + 1)))]]
    return [[number(rng) if kind < 0.85 else amount(rng)]]
