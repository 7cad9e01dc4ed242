"""Parses untrusted XML with defusedxml. Document types are rejected, and the size and depth are limited."""

from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from mfa_kit.core.errors import IntegrityFault

# The maximum number of the characters < and = in a file. They are counted before parsing, to limit the memory for
# elements (about 200 octets each) and attributes (about 100). A container of 50,000 tokens has about two million.
MARKS = 2_000_000
DEPTH = 24


def parse_xml(content: bytes) -> Element:
    """Parse XML and return the root. Raise IntegrityFault if it is malformed, has a DOCTYPE or exceeds a limit."""
    if content.count(b"<") + content.count(b"=") > MARKS:
        raise IntegrityFault("this XML has too many elements", "ask the vendor to split the tokens into several files")
    try:
        root: Element = defusedxml.ElementTree.fromstring(content, forbid_dtd=True)
    except DefusedXmlException as error:
        raise IntegrityFault(
            f"this XML file has a declaration that is not allowed ({type(error).__name__})",
            "check where this file comes from",
        ) from None
    except (ParseError, ValueError, LookupError) as error:
        place = f", line {error.position[0]}" if isinstance(error, ParseError) else ""
        raise IntegrityFault(f"this is not well-formed XML{place}", "ask the vendor for the file again") from None
    level = [root]
    for _ in range(DEPTH):
        level = [child for element in level for child in element]
    if level:
        raise IntegrityFault(f"this XML is nested more than {DEPTH} levels deep", "check where this file comes from")
    return root


def local_name(element: Element) -> str:
    """Return the name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def text_of(element: Element | None) -> str:
    """Return the text directly in an element, without surrounding blanks, or an empty string if there is none."""
    return (element.text or "").strip() if element is not None else ""
