"""The errors a SOQL query can meet, with Salesforce's codes and texts."""

from __future__ import annotations

_EXCERPT = 100


class SoqlError(Exception):
    """A refused query.

    `code` is Salesforce's errorCode, `message` its text, with caret lines where Salesforce has them.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def at_position(text: str, at: int, code: str, message: str) -> SoqlError:
    """An error that points into the query: the line, a caret under the place, row and column, the message.

    Source: salesforce-protocol.md#query-errors.
    """
    before = text[:at]
    row = before.count("\n") + 1
    line_start = before.rfind("\n") + 1
    line_end = text.find("\n", at)
    line = text[line_start : line_end if line_end >= 0 else len(text)]
    column = at - line_start
    first = max(0, column - _EXCERPT)
    excerpt = line[first : column + _EXCERPT]
    caret = " " * (column - first) + "^"
    return SoqlError(code, f"\n{excerpt}\n{caret}\nERROR at Row:{row}:Column:{column + 1}\n{message}")


def unexpected_token(text: str, at: int, token: str) -> SoqlError:
    """The grammar did not expect this here."""
    return at_position(text, at, "MALFORMED_QUERY", f"unexpected token: '{token}'")


def unsupported(text: str, at: int, what: str) -> SoqlError:
    """SOQL that Salesforce knows and the local org does not."""
    return at_position(text, at, "MALFORMED_QUERY", f"{what} is not supported by the local org")


def no_such_column(text: str, at: int, name: str, entity: str) -> SoqlError:
    """A field that does not exist, or that the user may not see."""
    return at_position(
        text,
        at,
        "INVALID_FIELD",
        f"No such column '{name}' on entity '{entity}'. If you are attempting to use a custom field, be sure to append the "
        "'__c' after the custom field name. Please reference your WSDL or the describe call for the appropriate names.",
    )


def no_such_object(text: str, at: int, name: str) -> SoqlError:
    """An object that does not exist, or that the user may not see."""
    return at_position(
        text,
        at,
        "INVALID_TYPE",
        f"sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append the '__c' "
        "after the entity name. Please reference your WSDL or the describe call for the appropriate names.",
    )


def no_such_relationship(text: str, at: int, name: str) -> SoqlError:
    """A relationship name that the object does not have."""
    return at_position(
        text,
        at,
        "INVALID_FIELD",
        f"Didn't understand relationship '{name}' in field path. If you are attempting to use a custom relationship, be sure "
        "to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call for the "
        "appropriate names.",
    )
