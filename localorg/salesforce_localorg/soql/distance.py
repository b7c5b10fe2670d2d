"""DISTANCE(place, GEOLOCATION(latitude, longitude), 'mi' or 'km') as SQL, by the haversine formula.

Source: SOQL and SOSL Reference, "Location-Based SOQL Queries".
"""

from __future__ import annotations

from salesforce_localorg.soql.ast import Call, Number, Path, Text
from salesforce_localorg.soql.errors import SoqlError, at_position
from salesforce_localorg.soql.plan import Column
from salesforce_localorg.soql.scope import Scope

NAME = "DISTANCE"
OPERATORS = ("<", ">")  # within and beyond a radius
_EARTH_RADIUS = {"km": 6371.0088, "mi": 3958.7613}
_COORDINATES = ("Latitude", "Longitude")


def distance(scope: Scope, call: Call) -> Column:
    """The distance between two places in the unit that the call names. Raises SoqlError for anything else."""
    if len(call.arguments) != 3:
        raise _refused(scope, call, "takes a location, GEOLOCATION(latitude, longitude) and a unit")
    first, second, unit = call.arguments
    if isinstance(first, Call):
        raise _refused(scope, call, "takes the location field before GEOLOCATION(latitude, longitude)")
    radius = _EARTH_RADIUS.get(unit.value.lower()) if isinstance(unit, Text) else None
    if radius is None:
        raise _refused(scope, call, "takes 'mi' or 'km' as its unit")
    (lat1, lon1), (lat2, lon2) = _place(scope, call, first), _place(scope, call, second)
    half_chord = (
        f"pow(sin(radians({lat2} - {lat1}) / 2), 2)"
        f" + cos(radians({lat1})) * cos(radians({lat2})) * pow(sin(radians({lon2} - {lon1}) / 2), 2)"
    )
    return Column(f"(2 * {radius} * asin(sqrt(least(1, {half_chord}))))", "double")


def _place(scope: Scope, call: Call, argument: Path | Call | Text | Number) -> tuple[str, str]:
    """The SQL of latitude and longitude."""
    if isinstance(argument, Path):
        return _of_field(scope, call, argument)
    if isinstance(argument, Call) and argument.function == "GEOLOCATION" and len(argument.arguments) == 2:
        latitude, longitude = (_coordinate(scope, call, each) for each in argument.arguments)
        return latitude, longitude
    raise _refused(scope, call, "takes a location field and GEOLOCATION(latitude, longitude)")


def _of_field(scope: Scope, call: Call, path: Path) -> tuple[str, str]:
    reached = scope.reach(path)
    table = reached.tables[0]
    components = table.sobject.components(reached.field)
    found = [
        table.column(each.name)
        for name in _COORDINATES
        for each in components
        if each.name.endswith((name, f"{name}__s"))
    ]
    if not reached.field.is_compound or len(found) != len(_COORDINATES):
        raise _refused(scope, call, f"takes a location field, which {path} is not")
    return found[0], found[1]


def _coordinate(scope: Scope, call: Call, argument: Path | Call | Text | Number) -> str:
    if isinstance(argument, Number):
        return f"CAST('{argument.value}' AS DOUBLE)"
    if isinstance(argument, Path) and (reached := scope.reach(argument)).field.is_number:
        return reached.sql
    raise _refused(scope, call, "takes numbers in GEOLOCATION")


def _refused(scope: Scope, call: Call, what: str) -> SoqlError:
    return at_position(scope.context.text, call.at, "MALFORMED_QUERY", f"The function {call.name} {what}")
