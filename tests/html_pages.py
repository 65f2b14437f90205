"""What tests ask of a page: its tags close, and it loads nothing."""

import re
from html.parser import HTMLParser

VOID = {"meta"}


class Reader(HTMLParser):
    """Tags that are open, all that were seen, and the texts."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.attributes, self.texts = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read_page(page):
    """A page, parsed; a tag that is not closed, or closed by another, fails."""
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def require_self_contained(page):
    """A page that needs neither network nor script, and is made for phones and dark screens."""
    reader = read_page(page)
    assert {"script", "img", "link", "iframe", "a", "object"}.isdisjoint(reader.seen)
    names = {name for name, _ in reader.attributes}
    assert {"src", "href", "xlink:href", "onload", "onclick", "srcset"}.isdisjoint(names)
    assert not re.search(r"https?:|url\(|@import", page)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in reader.attributes
    assert ("name", "viewport") in reader.attributes
    assert "prefers-color-scheme: dark" in page
