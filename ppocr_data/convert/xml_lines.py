"""XML with line numbers, which the parsers of the standard library keep to themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from ppocr_data.errors import DataError


@dataclass(slots=True)
class Element:
    """An element with the line where it begins; `text` is what stands directly in it."""

    tag: str
    line: int
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)


def elements(path: Path, root: str, child: str) -> list[Element]:
    """The elements below the root of an XML file.

    Raises:
        DataError: the file cannot be read, is not XML, or its root or an element below it has another name.
    """
    try:
        top = _parse(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except expat.ExpatError as error:
        raise DataError(f"{path}:{error.lineno}: not XML ({expat.ErrorString(error.code)})") from error
    except (ValueError, LookupError) as error:  # of encodings: gb2312 and others of several bytes, and unknown ones
        raise DataError(f"{path}: the encoding that it states cannot be read ({error}); save it as UTF-8") from error
    for found, expected in ((top, root), *((element, child) for element in top.children)):
        if found.tag != expected:
            raise DataError(f"{path}:{found.line}: expected <{expected}>, found <{found.tag}>")
    return top.children


def _parse(data: bytes) -> Element:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    document = Element("", 0, {})
    open_elements = [document]

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, parser.CurrentLineNumber, attributes)
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def text(data: str) -> None:
        open_elements[-1].text += data

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: open_elements.pop()
    parser.CharacterDataHandler = text
    parser.Parse(data, True)
    return document.children[0]
