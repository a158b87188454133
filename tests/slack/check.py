"""Reads Slack messages as an independent reader would.

    python check.py PAYLOADS.json

PAYLOADS.json is an object of messages by name, as they are sent to chat.postMessage or to a webhook. Each block goes
through the models of Slack's own SDK (slack_sdk.models.blocks); what those do not check is checked here, from the
limits and rules that docs.slack.dev publishes. Prints what is wrong, one line each, and ends with 1 if anything is.
"""

import json
import logging
import re
import sys

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block, ContextBlock, HeaderBlock, SectionBlock

MAX_BLOCKS = 50  # Reference: Blocks
MAX_TEXT = 4000  # chat.postMessage: "we recommend that you limit the text to 4,000 characters"
MAX_HEADER = 150  # Header block
MAX_SECTION = 3000  # Section block; text object
MAX_ELEMENTS = 10  # Context block

KNOWN = {"header": HeaderBlock, "section": SectionBlock, "context": ContextBlock}
KEYS = {"header": {"type", "text"}, "section": {"type", "text"}, "context": {"type", "elements"}}

# Formatting text for app surfaces: a date needs its fallback, a link its address. Nothing else may begin with "<".
MARKUP = re.compile(r"<!date\^\d+\^[^|<>]+\|[^<>|]+>|<https?://[^\s<>|]+\|[^<>|]+>")
ENTITY = re.compile(r"&(amp|lt|gt);")
INVISIBLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def length(text):
    """UTF-16 units: never less than characters."""
    return len(text.encode("utf-16-le")) // 2


def check_words(where, text):
    if ENTITY.sub("", text).count("&"):
        yield f"{where}: unescaped &"
    for sign in "<>":
        if sign in text:
            yield f"{where}: unescaped {sign} in {text[:80]!r}"
    if INVISIBLE.search(text):
        yield f"{where}: control or invisible characters in {text[:80]!r}"


def check_text(where, item, kind, limit):
    if item.get("type") != kind:
        yield f"{where}: expected {kind}, found {item.get('type')}"
    text = item.get("text", "")
    if not 1 <= length(text) <= limit:
        yield f"{where}: {length(text)} characters, where 1 to {limit} are allowed"
    if kind == "mrkdwn":
        if item.get("verbatim") is not True:
            yield f"{where}: not verbatim, so that @here would be a mention"
        text = MARKUP.sub("", text)
    elif item.get("emoji") is not False:
        yield f"{where}: would show emoji"
    yield from check_words(where, text)


def check_block(where, block):
    kind = block.get("type")
    if kind not in KNOWN:
        yield f"{where}: the type {kind} is not one of {sorted(KNOWN)}"
        return
    model = Block.parse(block)
    if type(model) is not KNOWN[kind]:
        yield f"{where}: Slack's SDK reads {type(model).__name__}"
        return
    try:
        model.validate_json()
        again = model.to_dict()
    except SlackObjectFormationError as error:
        yield f"{where}: Slack's SDK says: {error}"
        return
    if again != block:
        yield f"{where}: Slack's SDK reads {again}, and not {block}"
    if set(block) != KEYS[kind]:
        yield f"{where}: keys {sorted(block)}"
    if kind == "header":
        yield from check_text(where, block["text"], "plain_text", MAX_HEADER)
    elif kind == "section":
        yield from check_text(where, block["text"], block["text"].get("type"), MAX_SECTION)
    else:
        if not 1 <= len(block["elements"]) <= MAX_ELEMENTS:
            yield f"{where}: {len(block['elements'])} elements, where {MAX_ELEMENTS} are allowed"
        for element in block["elements"]:
            yield from check_text(where, element, "mrkdwn", MAX_SECTION)


def check_message(name, message):
    text = message.get("text", "")
    if not 1 <= length(text) <= MAX_TEXT:
        yield f"{name}: text of {length(text)} characters, where 1 to {MAX_TEXT} are allowed"
    yield from check_words(f"{name}: text", text)
    if "\n" in text:
        yield f"{name}: text of several lines"
    for key in ("mrkdwn", "link_names", "unfurl_links", "unfurl_media"):
        if message.get(key) is not False:
            yield f"{name}: {key} is {message.get(key)}"
    blocks = message.get("blocks", [])
    if not 1 <= len(blocks) <= MAX_BLOCKS:
        yield f"{name}: {len(blocks)} blocks, where 1 to {MAX_BLOCKS} are allowed"
    for n, block in enumerate(blocks):
        yield from check_block(f"{name}: block {n}", block)


def main():
    logging.disable(logging.CRITICAL)  # The SDK warns of what is then reported here.
    with open(sys.argv[1], encoding="utf-8") as file:
        messages = json.load(file)
    wrong = [line for name, message in messages.items() for line in check_message(name, message)]
    for line in wrong:
        print(line)
    if not wrong:
        print(f"{len(messages)} payloads are good")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
