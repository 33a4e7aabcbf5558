"""nvidia-smi's XML as a tree, whatever processes are called.

nvidia-smi copies the name of a process as it is: any bytes (common-workflow-language/cwltool#1910). What is no XML
because of them is mended. A name that imitates the end of its own element and what comes behind it cannot be told from
the document, and is taken for it.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from backends.contract import ProbeFailed
from backends.domain import clean

SIZE_LIMIT = 16 << 20
NAME_LIMIT = 4096

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""XML 1.0, production 2."""
_STRAY = re.compile("&(?!(?:amp|lt|gt|quot|apos);)")
"""A number may name a character that is illegal; nvidia-smi writes none."""
_NAME = "<process_name>"
_NAME_ENDS = re.compile(r"</process_name>\s*<used_memory>")
"""As in every version of the DTD."""


def root_of(xml: bytes | str) -> ET.Element:
    """The document; raises ProbeFailed for XML that is too large, declares entities or is broken."""
    if len(xml) > SIZE_LIMIT:
        raise ProbeFailed(f"nvidia-smi printed more than {SIZE_LIMIT:,} bytes", "")
    text = mended(xml.decode("utf-8", "replace") if isinstance(xml, bytes) else xml)
    # nvidia-smi names an external DTD and nothing more; a DTD of its own is where entity bombs live.
    if "<!ENTITY" in text or re.search(r"<!DOCTYPE[^>\[]*\[", text):
        raise ProbeFailed("nvidia-smi's XML declares entities: refused", "something else than nvidia-smi answered")
    try:
        root = ET.fromstring(text)  # noqa: S314 - no entities can be declared, see above
    except (ET.ParseError, ValueError) as error:
        raise ProbeFailed(f"nvidia-smi's XML cannot be read: {error}", "run nvidia-smi -q -x on the node") from None
    if root.tag != "nvidia_smi_log":
        raise ProbeFailed("that is not the XML of nvidia-smi", "run nvidia-smi -q -x on the node")
    return root


def mended(text: str) -> str:
    """`text` without characters that XML forbids, with stray ampersands and the names of processes escaped."""
    return "".join(_parts(text))


def _legal(text: str) -> str:
    return _STRAY.sub("&amp;", _ILLEGAL.sub("", text))


def _parts(text: str) -> Iterator[str]:
    at = 0
    while (start := text.find(_NAME, at)) >= 0:
        start += len(_NAME)
        end = _NAME_ENDS.search(text, start)
        if end is None:
            break
        yield _legal(text[at:start])
        # Cleaned here: without its first character an escape sequence is text.
        name = clean(text[start : end.start()], NAME_LIMIT)
        yield _legal(name).replace("<", "&lt;").replace(">", "&gt;")
        at = end.start()
    yield _legal(text[at:])
