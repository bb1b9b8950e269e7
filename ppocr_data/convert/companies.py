"""Splitting receipts by the company that issued them: a company's receipts are near-duplicates of one another."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import re
from collections.abc import Sequence

from ppocr_data.convert.record import Record
from ppocr_data.convert.split import Groups, Split

HEADER_LINES = 3  # of a receipt: company, its second name or number, the address's first line
ALIKE = 0.8  # difflib ratio from which two header lines are one, read or typed a little differently
SHORTEST_LINE, FEWEST_LETTERS = 6, 5  # characters and letters that make a header line tell companies apart
GENERIC = re.compile(
    r"(SIMPLIFIED)?(TAX)?INVOICE|CASH(SALES?|BILL)|(OFFICIAL)?RECEIPT|POSTED|WELCOME|THANKYOU|OPERATEDBY|SDNBHD"
    r"|(CO(MPANY)?|GST|BRN?|ROC|ID|BUSINESS)?(CO)?(REG(ISTRATION)?)?(GST)?(ID)?(NO)?[A-Z]?|(TEL(EPHONE)?|FAX|PHONE)(NO)?"
)


def by_company(records: Sequence[Record], count: int) -> Split:
    """Validation is about `count` receipts, whole companies only, so that near-duplicates never cross the cut.

    Exactly `count` where companies of fitting sizes exist, else the nearest number that can be reached. A company with
    more than a third of `count` comes in only where the others do not suffice: a score that is mostly one receipt,
    printed again and again, says little. Beyond that receipts are drawn by a hash of their names, each with its whole
    company, the same on every machine.
    """
    groups = company_groups(records)
    draw = [hashlib.sha256(record.image.encode(errors="surrogateescape")).digest() for record in records]
    groups.sort(key=lambda group: (len(group) > count / 3, min(draw[i] for i in group)))
    chosen = choose_groups([len(group) for group in groups], count)
    val = frozenset(i for g in chosen for i in groups[g])
    note = (
        f"split by company: {len(groups)} companies, the largest with {max(map(len, groups), default=0)} receipts; "
        f"{len(groups) - len(chosen)} companies with {len(records) - len(val)} receipts to train, "
        f"{len(chosen)} companies with {len(val)} receipts to validate"
    )
    return Split(val, note)


def company_groups(records: Sequence[Record]) -> list[list[int]]:
    """Receipts of one company together: those that share a header line, or nearly; transitively.

    Two companies that share an address end in one group as well. That is the safe side: a group is never cut.
    """
    holders: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        for line in header_lines(record):
            holders.setdefault(line, []).append(i)
    groups = Groups(len(records))
    for members in holders.values():
        for i in members:
            groups.join(i, members[0])
    for a, b in itertools.combinations(sorted(holders), 2):
        i, j = holders[a][0], holders[b][0]
        if groups.root(i) != groups.root(j) and _alike(a, b):
            groups.join(i, j)
    return groups.members()


def header_lines(record: Record) -> list[str]:
    """The first lines from the top that can tell a company (no numbers, no titles), reduced to capitals and digits."""
    middles = [sum(y for _, y in polygon) / len(polygon) for polygon in record.polygons]
    lines = []
    for i in sorted(range(len(middles)), key=middles.__getitem__):
        line = re.sub(r"[^A-Z0-9]", "", record.texts[i].upper())
        letters = re.sub(r"[0-9]", "", line)
        tells = len(line) >= SHORTEST_LINE and len(letters) >= max(FEWEST_LETTERS, len(line) / 2)
        if tells and not GENERIC.fullmatch(letters):
            lines.append(line)
            if len(lines) == HEADER_LINES:
                break
    return lines


def _alike(a: str, b: str) -> bool:
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    return matcher.real_quick_ratio() >= ALIKE and matcher.quick_ratio() >= ALIKE and matcher.ratio() >= ALIKE


def choose_groups(sizes: Sequence[int], count: int) -> list[int]:
    """Indices of groups whose sizes sum to `count`, or as near to it as any choice can (below before above).

    Exact subset sum; among choices of equal sum the one that takes the earlier groups.
    """
    tails = [{0}]  # tails[k]: the sums that the last k groups can make
    for size in reversed(sizes):
        tails.append(tails[-1] | {total + size for total in tails[-1]})
    left = min(tails[-1], key=lambda total: (abs(total - count), total))
    chosen = []
    for i, size in enumerate(sizes):
        if left - size in tails[len(sizes) - i - 1]:
            chosen.append(i)
            left -= size
    return chosen
