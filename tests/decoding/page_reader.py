"""Reads a page of plain and guided texts, for tests of what stands on it."""

from html.parser import HTMLParser

VOID = {"meta", "input"}


class Reader(HTMLParser):
    """What a page is made of; fails where a tag is not closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.attributes, self.texts = [], [], [], []
        self.tokens, self.rows = [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        fields = dict(attrs)
        self.seen.append((tag, fields))
        self.attributes += attrs
        if tag in VOID:
            return
        self.open.append(tag)
        if "data-n" in fields:
            self.tokens.append({**fields, "tag": tag, "text": "", "mark": ""})
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if "p" in self.open and self.open[-1] in ("span", "a") and self.tokens:
            self.tokens[-1]["text"] += data
        if self.open[-1:] == ["sup"] and self.tokens:
            self.tokens[-1]["mark"] += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def of(self, tag):
        """Attributes of all elements of a tag."""
        return [fields for name, fields in self.seen if name == tag]
