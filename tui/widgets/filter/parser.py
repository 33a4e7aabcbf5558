"""The text of a filter as an expression.

filter := all ("|" all)*
all    := term ("&"? term)*
term   := "!" term | "(" filter ")" | field operator value unit? | "@" name | word | "string"

A unit may stand behind a blank, as the screens write it (`67 °C`); `and`, `or` and `not` are no words unless quoted.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from backends.domain import clean
from tui.widgets.filter.errors import FilterError
from tui.widgets.filter.expression import (
    All,
    AnyOf,
    Comparison,
    Expression,
    Flag,
    Missing,
    Not,
    Number,
    Operand,
    Pattern,
    Phrase,
    Saved,
    StateWord,
    Word,
)
from tui.widgets.filter.fields import OPERATORS_OF, SECONDS, UNIT_WORDS, Field, FieldTable, Kind
from tui.widgets.filter.lexer import NOT_MEASURED, Token, tokens_of

MOST_CHARACTERS = 1000
MOST_DEPTH = 40
MOST_TERMS = 200
"""With what the saved filters stand for: one that names two others, which name two others, grows fast."""

_BEGINS_A_TERM = frozenset(("word", "string", "saved", "!", "("))
_DIGITS = frozenset("0123456789")
_WORDS_FOR_SIGNS = frozenset(("and", "or", "not"))
_FLAGS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


class Parser:
    """Reads one text; `terms` counts what it and the saved filters in it have made."""

    def __init__(
        self,
        text: str,
        fields: FieldTable,
        saved: Mapping[str, str],
        within: tuple[str, ...] = (),
        depth: int = 0,
    ) -> None:
        """`within` are the saved filters this text is part of, outermost first, and `depth` the levels around it."""
        if len(text) > MOST_CHARACTERS:
            raise FilterError(f"a filter has at most {MOST_CHARACTERS} characters", MOST_CHARACTERS)
        self.terms = 0
        self._fields = fields
        self._saved = saved
        self._within = within
        self._tokens = tokens_of(text)
        self._end = len(text.rstrip())
        self._at = 0
        self._depth = depth

    def expression(self) -> Expression | None:
        """The whole text; None for a blank one. Raises FilterError."""
        if not self._tokens:
            return None
        found = self._any_of()
        left = self._peek()
        if left is not None:
            raise FilterError("no ( stands before this )" if left.kind == ")" else "nothing fits here", left.at)
        return found

    # The grammar

    def _any_of(self) -> Expression:
        terms = [self._all()]
        while self._took("|"):
            terms.append(self._all())
        flat = [each for term in terms for each in (term.terms if isinstance(term, AnyOf) else (term,))]
        return flat[0] if len(flat) == 1 else AnyOf(tuple(flat))

    def _all(self) -> Expression:
        terms = [self._term()]
        while self._took("&") or self._next_is(_BEGINS_A_TERM):
            terms.append(self._term())
        flat = [each for term in terms for each in (term.terms if isinstance(term, All) else (term,))]
        return flat[0] if len(flat) == 1 else All(tuple(flat))

    def _term(self) -> Expression:
        token = self._next_term()
        self._depth += 1
        self._count(1, token)
        if self._depth > MOST_DEPTH:
            raise FilterError(f"more than {MOST_DEPTH} levels", token.at)
        read: dict[str, Callable[[Token], Expression]] = {
            "!": lambda _: Not(self._term()),
            "(": self._group,
            "saved": self._reference,
            "string": self._phrase,
            "word": self._word,
        }
        found = read[token.kind](token)
        self._depth -= 1
        return found

    def _next_term(self) -> Token:
        token = self._peek()
        if token is not None and token.kind in _BEGINS_A_TERM:
            self._at += 1
            return token
        before = self._tokens[self._at - 1] if self._at else None
        if token is None:
            opened = before is not None and before.kind == "("
            said = "this ( is not closed" if opened or before is None else f"something must follow {before.text}"
            raise FilterError(said, before.at if before else 0, incomplete=True)
        if token.kind == "operator":
            raise FilterError(f"a field must stand before {token.text}", token.at, self._fields.nearest(""))
        if before is not None and before.kind == "(":
            raise FilterError("nothing stands between ( and )", token.at)
        raise FilterError(f"nothing stands before {token.text}", token.at)

    def _group(self, opening: Token) -> Expression:
        found = self._any_of()
        if not self._took(")"):
            raise FilterError("this ( is not closed", opening.at, incomplete=True)
        return found

    def _phrase(self, token: Token) -> Expression:
        if self._next_is({"operator"}):
            raise FilterError("the name of a field has no quotes", token.at)
        return Phrase(token.text.lower())

    def _word(self, token: Token) -> Expression:
        if self._next_is({"operator"}):
            return self._comparison(token)
        text = token.text.lower()
        if text in _WORDS_FOR_SIGNS and self._fields.fields:
            said, hint = f'"{text}" means nothing here', "write & | !, or quote it to look for it"
            raise FilterError(said, token.at, hint, incomplete=token.end == self._end)
        return StateWord(text) if text in self._fields.words else Word(text)

    def _reference(self, token: Token) -> Expression:
        name = token.text.lower()
        if name not in self._saved:
            said = f"no filter is saved as {clean(name, 24)}" if name else "the name of a saved filter follows @"
            near = difflib.get_close_matches(name[:64], self._saved, n=1, cutoff=0.5)
            raise FilterError(said, token.at, f"did you mean @{near[0]}?" if near else "", incomplete=not name)
        if name in self._within:
            raise FilterError(f"@{name} is part of itself", token.at)
        try:
            parser = Parser(self._saved[name], self._fields, self._saved, (*self._within, name), self._depth)
            term = parser.expression()
        except FilterError as error:
            raise FilterError(f"in @{name}: {error.message}", token.at, error.hint) from None
        if term is None:
            raise FilterError(f"@{name} is empty", token.at)
        self._count(parser.terms, token)
        return Saved(name, term)

    # field operator value

    def _comparison(self, name: Token) -> Expression:
        field = self._fields.find(name.text)
        if field is None:
            if not self._fields.fields:
                raise FilterError("this list has words only, no fields", name.at, "quote it to look for it")
            raise FilterError(f'no field "{clean(name.text, 24)}"', name.at, self._fields.nearest(name.text))
        operator = self._tokens[self._at]
        self._at += 1
        allowed = OPERATORS_OF[field.kind]
        if operator.text not in allowed:
            raise FilterError(f"{field.name} is {_KIND_WORDS[field.kind]}", operator.at, f"it has {' '.join(allowed)}")
        value = self._peek()
        if value is None or value.kind not in ("word", "string", "saved"):
            at, unfinished = (self._end, True) if value is None else (value.at, False)
            said = f"{field.name}{operator.text} needs {_VALUE_WORDS[field.kind]}"
            raise FilterError(said, at, f"as in {field.example}", incomplete=unfinished)
        self._at += 1
        text = f"@{value.text}" if value.kind == "saved" else value.text
        if value.kind != "string" and text.lower() in NOT_MEASURED:
            if operator.text not in ("=", "!="):
                raise FilterError("what was not measured has no order", value.at, f"write {field.name}=na")
            return Missing(field.name, operator.text == "=")
        operand = _OPERANDS[field.kind](field, operator, value, text)
        if isinstance(operand, Number):
            operand = self._with_parts(field, self._with_unit(field, operand))
        return Comparison(field.name, operator.text, operand)

    def _with_unit(self, field: Field, number: Number) -> Number:
        """With the unit that stands behind a blank; of another field's unit, FilterError."""
        word = None if number.suffix else self._peek()
        suffix = "" if word is None else word.text.lower()
        if word is None or word.kind != "word" or suffix not in UNIT_WORDS or self._is_a_field(self._at):
            return number
        if suffix not in field.unit.suffixes:
            said, unfinished = f"{number} {clean(word.text, 24)} is no number", word.end == self._end
            raise FilterError(said + _in_unit(field), word.at, f"as in {field.example}", incomplete=unfinished)
        self._at += 1
        return Number(number.value, suffix)

    def _with_parts(self, field: Field, number: Number) -> Number:
        """An age as the screens write it, `1 h 04 m`, is one number of its last unit."""
        while field.unit is SECONDS and number.suffix:
            word, factors = self._peek(), field.unit.suffixes
            digits, suffix = _cut(word.text) if word is not None and word.kind == "word" else ("", "")
            if not digits.isdecimal() or len(digits) > 2 or self._is_a_field(self._at):
                break
            behind = self._tokens[self._at + 1] if self._at + 1 < len(self._tokens) else None
            apart = not suffix and behind is not None and behind.kind == "word" and not self._is_a_field(self._at + 1)
            suffix = behind.text.lower() if apart and behind is not None else suffix
            if not suffix or suffix not in factors or factors[suffix] >= factors[number.suffix]:
                break
            self._at += 2 if apart else 1
            number = Number(number.value * factors[number.suffix] / factors[suffix] + int(digits), suffix)
        return number

    def _is_a_field(self, at: int) -> bool:
        """Whether the word at that place begins a comparison."""
        return at + 1 < len(self._tokens) and self._tokens[at + 1].kind == "operator"

    # Tokens

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next_is(self, kinds: frozenset[str] | set[str]) -> bool:
        token = self._peek()
        return token is not None and token.kind in kinds

    def _took(self, kind: str) -> bool:
        if not self._next_is({kind}):
            return False
        self._at += 1
        return True

    def _count(self, terms: int, token: Token) -> None:
        self.terms += terms
        if self.terms > MOST_TERMS:
            raise FilterError(f"more than {MOST_TERMS} conditions", token.at)


def _number(field: Field, _operator: Token, token: Token, text: str) -> Operand:
    digits, suffix = _cut(text)
    whole, _, decimals = digits.lstrip("-").partition(".")
    if not whole + decimals or len(whole) > 15 or len(decimals) > 6 or suffix not in field.unit.suffixes:
        raise FilterError(f"{clean(text, 24)} is no number{_in_unit(field)}", token.at, f"as in {field.example}")
    return Number(float(digits), suffix)


def _cut(text: str) -> tuple[str, str]:
    """The number that `text` begins with, and what stands behind it in lower case."""
    digits = text[:1] if text[:1] == "-" else ""
    for character in text[len(digits) :]:
        if character not in _DIGITS and (character != "." or "." in digits):
            break
        digits += character
    return digits, text[len(digits) :].lower()


def _in_unit(field: Field) -> str:
    return f" in {field.unit.symbol}" if field.unit.symbol else ""


def _pattern(_field: Field, _operator: Token, token: Token, text: str) -> Operand:
    # In quotes a * is itself.
    pieces = (text,) if token.kind == "string" else tuple(text.split("*"))
    return Pattern(tuple(piece.lower() for piece in pieces))


def _version(field: Field, operator: Token, token: Token, text: str) -> Operand:
    if operator.text not in OPERATORS_OF["text"] and not all(part.isdecimal() for part in text.split(".")):
        raise FilterError(f"{clean(text, 24)} is no version", token.at, f"as in {field.example}")
    return _pattern(field, operator, token, text)


def _flag(field: Field, _operator: Token, token: Token, text: str) -> Operand:
    on = _FLAGS.get(text.lower())
    if on is None:
        raise FilterError(f"{field.name} is yes or no", token.at, f"not {clean(text, 24)}")
    return Flag(on)


_OPERANDS: dict[Kind, Callable[[Field, Token, Token, str], Operand]] = {
    "number": _number,
    "text": _pattern,
    "version": _version,
    "flag": _flag,
}
_KIND_WORDS: dict[Kind, str] = {"number": "a number", "text": "text", "version": "a version", "flag": "yes or no"}
_VALUE_WORDS: dict[Kind, str] = {**_KIND_WORDS, "text": "a text"}
