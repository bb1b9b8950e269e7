"""What a pickle's instructions would do, followed without obeying them.

A pickle is a program for a small machine with a stack, marks on it, and a memory of numbered things. A few dozen bytes
of it can ask for more time and memory than there is, which is known only by following them.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Sequence
from typing import Any, BinaryIO

from ppocr_data.errors import WeightsError

_REFUSED = frozenset({"DUP", "FROZENSET", "ADDITEMS", "EMPTY_SET"})
"""What Python writes for sets, and what it has not written for decades."""
_REMEMBERS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_RECALLS = frozenset({"GET", "BINGET", "LONG_BINGET"})

_Stack = list[bool | None]
"""Of each thing whether it stands in the file as such, a text or a number, and is not made of others; None: a mark."""


def check_program(file: BinaryIO) -> None:
    """Refuse a pickle that could take the machine down, and go back to its beginning.

    Python makes room for the largest number under which something is remembered: twenty bytes could ask for all memory.
    An honest pickle counts up. And a key of a table is hashed with all that it holds: a pair of a pair of a pair, three
    bytes a level, takes twice as long with every level. Weights are known by texts.

    Raises:
        WeightsError: it remembers under numbers that no honest file has, makes sets, or keys that are no plain text.
        UnpicklingError, ValueError: it is no pickle.
    """
    stack: _Stack = []
    memory: dict[int, bool | None] = {}
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file), start=1):
        if opcode.name in _REFUSED:
            raise WeightsError(f"it has the instruction {opcode.name}, which no weight file needs")
        try:
            if opcode.name in _REMEMBERS:
                if int(argument or 0) > number:
                    raise WeightsError(f"it remembers something under the number {argument}, which no honest file does")
                memory[int(argument or 0)] = _top(stack)
            elif opcode.name == "MEMOIZE":
                memory[len(memory)] = _top(stack)
            elif opcode.name in _RECALLS:
                stack.append(memory[int(argument or 0)])
            else:
                _follow(stack, opcode)
        except LookupError:
            raise pickle.UnpicklingError(f"the instruction {opcode.name} asks for what is not there") from None
    file.seek(0)


def _top(stack: _Stack) -> bool:
    if (thing := stack[-1]) is None:
        raise LookupError
    return thing


def _follow(stack: _Stack, opcode: pickletools.OpcodeInfo) -> None:
    taken = _take(stack, opcode)
    keys: Sequence[Any] = {"SETITEM": taken[1:2], "SETITEMS": taken[1::2], "DICT": taken[::2]}.get(opcode.name, ())
    if not all(keys):
        raise WeightsError("it holds a table whose keys are no plain texts, not weights by name")
    made = not opcode.stack_before
    stack += [None if after is pickletools.markobject else made for after in opcode.stack_after]


def _take(stack: _Stack, opcode: pickletools.OpcodeInfo) -> _Stack:
    """Take from the stack what an instruction works on, without the mark."""
    before = opcode.stack_before
    taken: _Stack = []
    wanted = len(before)
    if pickletools.markobject in before or (opcode.name == "POP" and stack[-1] is None):
        while (thing := stack.pop()) is not None:
            taken.append(thing)
        wanted = before.index(pickletools.markobject) if pickletools.markobject in before else 0
    if wanted > len(stack):
        raise LookupError
    taken = stack[len(stack) - wanted :] + taken[::-1]
    del stack[len(stack) - wanted :]
    return taken
